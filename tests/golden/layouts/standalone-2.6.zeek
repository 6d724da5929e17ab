# Automatically generated. Do not edit.
redef Broker::default_port = 27760/tcp;
@if ( getenv("ZEEKCTL_DISABLE_LISTEN") == "" )
redef Telemetry::metrics_port = 9991/tcp;
@endif

event zeek_init()
	{
	if ( getenv("ZEEKCTL_DISABLE_LISTEN") == "" )
		Broker::listen();
	}
