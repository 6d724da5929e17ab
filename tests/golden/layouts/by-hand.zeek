##! Our cluster. Ask the network team before you change an address.
@load ./addresses
@load base/frameworks/cluster

redef record Cluster::Node += { rack: string &optional; };

const sensor_net = 10.0.0.0/8;
const collector: addr = 10.0.0.9;

export {
	redef Cluster::retry_interval = 1.5 min;
}

redef Cluster::nodes += { ["manager"] = Cluster::Node($node_type=Cluster::MANAGER,	# the one with two disks
	$ip=10.0.0.1, $p=to_port(cat("27761", "/tcp"))) };

redef Cluster::nodes += {
	["logger-1"] = [$node_type=Cluster::LOGGER, $ip=collector, $p=27762/tcp, $rack="A \"upper\" row"],
	["proxy-1"] = [$node_type=Cluster::PROXY, $ip=manager.example.org, $p=27763/tcp, $manager="manager"],
	["worker-1"] = [$node_type=Cluster::WORKER, $ip=to_addr("10.0.0.3"), $zone_id="", $p=0/unknown, $manager="manager",
	                $lb_filter=cat("vlan ",
	                               getenv("VLAN"))],	# only Zeek knows it
@if ( getenv("SPARE") == "" )
	["worker-2"] = [$node_type=Cluster::WORKER, $ip=10.0.0.4, $p=27765/tcp, $manager="manager"],
@else
	["worker-2"] = [$node_type=Cluster::WORKER, $ip=pick_address(sensor_net, 2), $p=27766/tcp, $manager="manager"],
@endif
};

function pick_address(net: subnet, n: count): addr
	{
	local pattern_with_braces = /[}"]/;
	return 10.0.0.5;
	}
