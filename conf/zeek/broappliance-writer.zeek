##! Sends every log to broappliance through the ZeroMQ log writer (package NCSA::ZeroMQWriter).
##!
##! Put this file into Zeek's site folder and load it in local.zeek:
##!
##!     @load ./broappliance-writer.zeek
##!     @load ./broappliance-extension.zeek      # recommended: makes losses countable
##!
##! The appliance binds, Zeek connects; start the appliance first. What Zeek sends while nobody listens is lost.

@load NCSA/ZeroMQWriter

# The same endpoint as `bind` in the appliance's [[zmq]].
redef LogZeroMQ::endpoint = "tcp://127.0.0.1:12345";

# Messages that one writer holds for a subscriber that is behind. Zeek writes up to 1000 records at once, so with the
# default of 1000 a single flush can fill it, and what does not fit is dropped without a word.
redef LogZeroMQ::zmq_hwm = 100000;

# Milliseconds that a new writer waits after it has connected. Without a pause the first records are sent before the
# subscription has arrived, and are lost.
redef LogZeroMQ::zmq_connect_pause = 250;

# Milliseconds that Zeek tries to deliver the rest when it ends.
redef LogZeroMQ::zmq_linger = 5000;

# To send some logs only, or all but some:
# redef LogZeroMQ::send_logs += { Conn::LOG, DNS::LOG, HTTP::LOG };
# redef LogZeroMQ::excluded_log_ids += { Reporter::LOG, Stats::LOG };
