# Automatically generated. Do not edit.
redef Cluster::manager_is_logger = T;
redef Cluster::nodes = {
	["control"] = [$node_type=Cluster::CONTROL, $ip=[2001:db8::1], $p=47760/tcp],
	["manager"] = [$node_type=Cluster::MANAGER, $ip=[2001:db8::1], $p=47761/tcp],
	["proxy-1"] = [$node_type=Cluster::PROXY, $ip=[2001:db8::1], $p=47762/tcp, $manager="manager"],
	["worker-1"] = [$node_type=Cluster::WORKER, $ip=[2001:db8::2], $p=47763/tcp, $interface="eth0", $manager="manager"],
};
