##! A node of a cluster on the ZeroMQ backend; see node.zeek for what it does when.

@load base/frameworks/cluster
@load ./node

event Cluster::node_up(name: string, id: string)
	{
	Interop::say(fmt("node_up %s %s", name, id));
	}

event Cluster::node_down(name: string, id: string)
	{
	Interop::say(fmt("node_down %s %s", name, id));
	}

hook Interop::command(words: string_vec) &priority=10
	{
	if ( words[0] != "publish" )
		return;

	local i = 2;

	while ( i < |words| )
		{
		Cluster::publish(words[1], Interop::note, words[i]);
		++i;
		}

	# Broker has no part in this.
	break;
	}
