##! Serves Zeek's WebSocket API on the port that INTEROP_WEBSOCKET in the environment says, on the Broker backend.

@load base/frameworks/cluster
@load base/misc/version

@if ( Version::number >= 80100 )
@load frameworks/cluster/backend/broker
@endif

@load ./types

module Interop;

event zeek_init()
	{
	local options = Cluster::WebSocketServerOptions($listen_addr=127.0.0.1,
	                                                $listen_port=to_port(getenv("INTEROP_WEBSOCKET") + "/tcp"));

	if ( ! Cluster::listen_websocket(options) )
		Reporter::fatal("cannot serve WebSockets");
	}

event Cluster::websocket_client_added(endpoint: Cluster::EndpointInfo, subscriptions: string_vec)
	{
	say(fmt("websocket_added %s", join_string_vec(subscriptions, ",")));
	}

event Cluster::websocket_client_lost(endpoint: Cluster::EndpointInfo, code: count, reason: string)
	{
	say(fmt("websocket_lost %s %s", code, reason));
	}
