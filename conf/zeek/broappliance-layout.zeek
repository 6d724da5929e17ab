##! The appliance as a named logger in the layout of a ZeroMQ cluster: append this entry to Cluster::nodes in
##! cluster-layout.zeek, or load this file after the layout on every node of a cluster that has a logger already. It takes
##! the place of broappliance-logger.zeek; do not use both, or every node connects twice and the appliance gets two shares.

redef Cluster::nodes += {
	["logger-broappliance"] = [
		$node_type=Cluster::LOGGER,
		$ip=127.0.0.1,
		$p=27790/tcp,
		$manager="manager",
	],
};
