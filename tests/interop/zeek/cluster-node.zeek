##! A node of the cluster of cluster-layout.zeek; see node.zeek.

@load base/frameworks/cluster
@load ./logs

event Cluster::node_up(name: string, id: string)
	{
	Interop::say(fmt("node_up %s %s", name, id));
	}

event Cluster::node_down(name: string, id: string)
	{
	Interop::say(fmt("node_down %s %s", name, id));
	}
