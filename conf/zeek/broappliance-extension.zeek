##! Adds four fields to every record that goes to broappliance: the log path, the Zeek node, the time of writing, and a
##! number that counts the records of that path on that node: 1, 2, 3, ... A number that is missing is a record that was
##! lost on the way; `broappliance status` shows how many.
##!
##! Only the ZeroMQ filter is changed: Zeek's own log files stay as they are, and the count is not taken twice.

module BroAppliance;

export {
	## What is added; Zeek puts Log::default_ext_prefix, an underscore, before each name.
	type Extension: record {
		path: string &log;
		node: string &log;
		write_ts: time &log;
		seq: count &log;
	};

	## The filter that gets the fields.
	const filter_name = "default-zmq" &redef;
}

global written: table[string] of count &default=0;

function extension(path: string): Extension
	{
	written[path] += 1;
	return Extension($path=path, $node=peer_description, $write_ts=current_time(), $seq=written[path]);
	}

# After the writer's own handler, which adds its filters with priority -5.
event zeek_init() &priority=-10
	{
	for ( id in Log::active_streams )
		{
		local filter = Log::get_filter(id, filter_name);

		if ( filter$name != filter_name )
			next;

		filter$ext_func = extension;
		Log::add_filter(id, filter);
		}
	}
