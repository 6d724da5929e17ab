##! Reads a capture, but not before INTEROP_PEER is a peer; ends when it has read it, and everything was sent to that peer.

redef LogAscii::use_json = T;

event zeek_init()
	{
	suspend_processing();
	Broker::peer("127.0.0.1", to_port(fmt("%s/tcp", getenv("INTEROP_PEER"))));
	}

event Broker::peer_added(endpoint: Broker::EndpointInfo, msg: string)
	{
	continue_processing();
	}

event Pcap::file_done(path: string)
	{
	terminate();
	}
