##! A node that asks for packets as scripts do, and prints the answers.

@load ./node.zeek
@load ../../../conf/zeek/broappliance-evidence.zeek

hook Interop::command(words: string_vec)
	{
	if ( words[0] != "request" )
		return;

	local what = BroAppliance::Packets($select="conn", $orig_h=127.0.0.1, $orig_p=count_to_port(to_count(words[1]), udp),
	    $resp_h=127.0.0.1, $resp_p=9/udp);
	Interop::say(fmt("asked %s", BroAppliance::request_selected(what, "a test")));
	}

event BroAppliance::evidence_ready(id: string, recorder: string, path: string, packets: count, bytes: count,
    is_complete: bool, missing: vector of string)
	{
	Interop::say(fmt("answer %s %s %s %d %d %s %s", id, recorder, path, packets, bytes, is_complete, join_string_vec(missing, ",")));
	}
