##! Asks broappliance for the packets of a connection, two hosts or one host, and hears where they are.
##!
##! Load it in local.zeek, on the nodes that ask:
##!
##!     @load ./broappliance-evidence.zeek
##!
##! and ask, from anywhere in a script:
##!
##!     BroAppliance::request_packets(c, "a reason");
##!
##! The appliance needs a [[recorder]] and an [[evidence]] with on = ["event:BroAppliance::evidence_request"], and must be
##! a Broker peer of the node that asks. Its answer is the event BroAppliance::evidence_ready, when the time after the
##! request has passed and the file is there; a request that is refused is answered at once.

module BroAppliance;

export {
	## Which packets. What is not set is not looked at.
	type Packets: record {
		## "conn", "pair", "host" or "all". If less is known than that needs, more packets come: of both hosts, or one.
		select: string;
		## When it happened: `before` and `after` are counted from here.
		ts: time &optional;
		## The originator, or the only host.
		orig_h: addr &optional;
		orig_p: port &optional;
		resp_h: addr &optional;
		resp_p: port &optional;
		## Zeek's name of the connection: its packets are those from the first one on, if the appliance gets conn.log.
		uid: string &optional;
		community_id: string &optional;
	};

	## Where requests are published. Cluster::time_machine_topic of Zeek up to 7.0; what the appliance asks its peers for.
	const evidence_request_topic = "zeek/cluster/time_machine" &redef;

	## Where the answers are to go.
	const evidence_answer_topic = "zeek/event/broappliance/evidence" &redef;

	## How long before the request's time the packets begin, and how long after it they end.
	const evidence_before = 1min &redef;
	const evidence_after = 30sec &redef;

	## Asks for packets.
	##
	## id: our own name for the request, which comes back with the answer.
	##
	## reason: for the note beside the packets.
	##
	## what: which packets.
	##
	## before: from so long before its time.
	##
	## after: until so long after it.
	##
	## recorder: whose packets; empty: of whichever takes the request.
	##
	## answer_topic: where the answer goes; empty: "zeek/event/broappliance/evidence".
	global evidence_request: event(id: string, reason: string, what: Packets, before: interval, after: interval,
	    recorder: string, answer_topic: string);

	## The answer to a request.
	##
	## id: as in the request.
	##
	## recorder: whose packets.
	##
	## path: of the PCAP, on the appliance's host; empty: there are no packets.
	##
	## packets: how many.
	##
	## bytes: of the file.
	##
	## is_complete: whether nothing is missing.
	##
	## missing: what is and why, or why the request was refused.
	global evidence_ready: event(id: string, recorder: string, path: string, packets: count, bytes: count,
	    is_complete: bool, missing: vector of string);

	## Asks for the packets of a connection. Returns the request's id.
	global request_packets: function(c: connection, reason: string, select: string &default="conn"): string;

	## Asks for any packets. Returns the request's id.
	global request_selected: function(what: Packets, reason: string): string;
}

event zeek_init()
	{
	Broker::subscribe(evidence_answer_topic);
	}

function request_selected(what: Packets, reason: string): string
	{
	local id = unique_id("E");

	if ( ! what?$ts )
		what$ts = network_time();

	Broker::publish(evidence_request_topic, BroAppliance::evidence_request, id, reason, what, evidence_before,
	    evidence_after, "", evidence_answer_topic);
	return id;
	}

function request_packets(c: connection, reason: string, select: string): string
	{
	local what = Packets($select=select, $orig_h=c$id$orig_h, $orig_p=c$id$orig_p, $resp_h=c$id$resp_h,
	    $resp_p=c$id$resp_p, $uid=c$uid);
	return request_selected(what, reason);
	}
