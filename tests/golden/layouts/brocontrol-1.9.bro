# Automatically generated. Do not edit.
redef Cluster::manager_is_logger = F;
redef Cluster::nodes = {
	["control"] = [$node_type=Cluster::CONTROL, $ip=192.0.2.1, $p=47760/tcp],
	["logger"] = [$node_type=Cluster::LOGGER, $ip=192.0.2.1, $p=47761/tcp],
	["manager"] = [$node_type=Cluster::MANAGER, $ip=192.0.2.1, $p=47762/tcp],
	["proxy-1"] = [$node_type=Cluster::PROXY, $ip=192.0.2.1, $p=47763/tcp, $manager="manager"],
	["worker-1-1"] = [$node_type=Cluster::WORKER, $ip=192.0.2.2, $p=47764/tcp, $interface="af_packet::eth0", $manager="manager"],
	["worker-1-2"] = [$node_type=Cluster::WORKER, $ip=192.0.2.2, $p=47765/tcp, $interface="af_packet::eth0", $manager="manager"],
	["time-machine"] = [$node_type=Cluster::TIME_MACHINE, $ip=192.0.2.11, $p=47757/tcp],
};
