##! A Zeek that does what the lines of the file "commands" say, and prints what happens to it.
##!
##! A line is a command and its arguments with tabs in between. What is printed begins with a word that says what it is.
##! INTEROP_LISTEN in the environment: listen on any free port. INTEROP_SUBSCRIBE: topic prefixes with commas in between.

@load base/frameworks/broker
@load base/frameworks/input

redef exit_only_after_terminate = T;

# How soon a new line is noticed.
redef Threading::heartbeat_interval = 50 msec;

module Interop;

export {
	## A text, from or to anybody.
	global note: event(text: string);

	## Does what a line says.
	global command: hook(words: string_vec);

	## Prints at once.
	global say: function(what: string);

	## What IdentifierUpdate changes.
	global setting = "as it was";
}

type Line: record {
	text: string;
};

function say(what: string)
	{
	print what;
	flush_all();
	}

event Interop::line(description: Input::EventDescription, tpe: Input::Event, text: string)
	{
	local words = split_string(text, /\t/);
	hook Interop::command(words);
	say(fmt("done %s", words[0]));
	}

hook Interop::command(words: string_vec)
	{
	if ( words[0] == "publish" )
		{
		local i = 2;

		while ( i < |words| )
			{
			Broker::publish(words[1], Interop::note, words[i]);
			++i;
			}
		}

	else if ( words[0] == "subscribe" )
		Broker::subscribe(words[1]);

	else if ( words[0] == "unsubscribe" )
		Broker::unsubscribe(words[1]);

	# Port, and seconds between attempts; 0 for a single one.
	else if ( words[0] == "peer" )
		Broker::peer("127.0.0.1", to_port(fmt("%s/tcp", words[1])), double_to_interval(to_double(words[2])));

	else if ( words[0] == "unpeer" )
		Broker::unpeer("127.0.0.1", to_port(fmt("%s/tcp", words[1])));

	else if ( words[0] == "master" )
		Broker::create_master(words[1]);

	else if ( words[0] == "publish_setting" )
		Broker::publish_id(words[1], "Interop::setting");

	else if ( words[0] == "say_setting" )
		say(fmt("setting %s", setting));

	else if ( words[0] == "stop" )
		terminate();
	}

event Interop::note(text: string)
	{
	say(fmt("note %s", text));
	}

event Broker::peer_added(endpoint: Broker::EndpointInfo, msg: string)
	{
	say(fmt("peer_added %s", endpoint$id));
	}

event Broker::peer_removed(endpoint: Broker::EndpointInfo, msg: string)
	{
	say(fmt("peer_removed %s", endpoint$id));
	}

event Broker::peer_lost(endpoint: Broker::EndpointInfo, msg: string)
	{
	say(fmt("peer_lost %s", endpoint$id));
	}

event Broker::error(code: Broker::ErrorCode, msg: string)
	{
	say(fmt("error %s %s", code, msg));
	}

event reporter_warning(t: time, msg: string, location: string)
	{
	say(fmt("report %s", msg));
	}

event reporter_error(t: time, msg: string, location: string)
	{
	say(fmt("report %s", msg));
	}

event zeek_init() &priority=-20
	{
	if ( getenv("INTEROP_SUBSCRIBE") != "" )
		{
		local prefixes = split_string(getenv("INTEROP_SUBSCRIBE"), /,/);

		for ( i in prefixes )
			Broker::subscribe(prefixes[i]);
		}

	say(fmt("node %s", Broker::node_id()));

	if ( getenv("INTEROP_LISTEN") != "" )
		say(fmt("listening %s", Broker::listen("127.0.0.1", 0/tcp)));

	Input::add_event([$source="commands", $name="commands", $reader=Input::READER_RAW, $mode=Input::STREAM,
	                  $fields=Interop::Line, $ev=Interop::line, $want_record=F]);
	say("ready now");
	}
