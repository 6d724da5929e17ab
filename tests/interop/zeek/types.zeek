##! Sends back what arrives: an event for every type that Broker carries, for their special values, and for what an
##! event's arguments may get wrong.

@load ./node

module Interop;

export {
	type Color: enum { RED, GREEN };

	type Inner: record {
		a: count;
		b: string &optional;
	};

	type Nested: record {
		i: int;
		inner: Inner;
		s: set[addr];
		v: vector of double;
		o: port &optional;
	};

	type Floats: vector of double;

	## Arguments of the recorded traffic between two Zeeks.
	global all_types: event(b: bool, i: int, c: count, d: double, t: time, iv: interval, s: string, p: port, a4: addr,
	                        a6: addr, n4: subnet, n6: subnet, e: Color, ss: set[string], sp: set[addr, port],
	                        ts: table[string] of count, v: vector of string, r: Nested, x: pattern);

	global all_types_back: event(b: bool, i: int, c: count, d: double, t: time, iv: interval, s: string, p: port,
	                             a4: addr, a6: addr, n4: subnet, n6: subnet, e: Color, ss: set[string],
	                             sp: set[addr, port], ts: table[string] of count, v: vector of string, r: Nested,
	                             x: pattern);

	global special: event(d: Floats, s: string, es: set[string], et: table[string] of count, ev: vector of string,
	                      n4: subnet, n6: subnet, lowest: int, highest: count, p: port,
	                      tp: table[addr, port] of string, tr: table[Inner] of count);

	global special_back: event(d: Floats, s: string, es: set[string], et: table[string] of count, ev: vector of string,
	                           n4: subnet, n6: subnet, lowest: int, highest: count, p: port,
	                           tp: table[addr, port] of string, tr: table[Inner] of count);

	global inner: event(r: Inner);
}

event Interop::all_types(b: bool, i: int, c: count, d: double, t: time, iv: interval, s: string, p: port, a4: addr,
                         a6: addr, n4: subnet, n6: subnet, e: Color, ss: set[string], sp: set[addr, port],
                         ts: table[string] of count, v: vector of string, r: Nested, x: pattern)
	{
	say(fmt("all_types %s %s %s %s %s %s %s", b, i, c, d, t, p, a4));
	Broker::publish("interop/back", Interop::all_types_back, b, i, c, d, t, iv, s, p, a4, a6, n4, n6, e, ss, sp, ts, v,
	                r, x);
	}

event Interop::special(d: Floats, s: string, es: set[string], et: table[string] of count, ev: vector of string,
                       n4: subnet, n6: subnet, lowest: int, highest: count, p: port, tp: table[addr, port] of string,
                       tr: table[Inner] of count)
	{
	say("special");
	Broker::publish("interop/back", Interop::special_back, d, s, es, et, ev, n4, n6, lowest, highest, p, tp, tr);
	}

event Interop::inner(r: Inner)
	{
	say(fmt("inner %s", r$a));
	}

hook Interop::command(words: string_vec)
	{
	if ( words[0] == "publish_all_types" )
		{
		local r = Interop::Nested($i=-5, $inner=Interop::Inner($a=7), $s=set(10.0.0.1, [2001:db8::1]),
		                          $v=vector(1.5, -0.0, 1e300), $o=53/udp);

		Broker::publish(words[1], Interop::all_types, T, -42, 18446744073709551615, 3.25,
		                double_to_time(1700000000.25), -1500 msec, "h\xc3\xa9llo \xff\x00 end", 443/tcp, 192.168.9.8,
		                [2001:db8::1], 10.1.0.0/16, [2001:db8::]/32, Interop::GREEN, set("x", "y"),
		                set([10.0.0.1, 80/tcp], [10.0.0.2, 53/udp]), table(["one"] = 1, ["two"] = 2),
		                vector("a", "b"), r, /foo.*bar/);
		}
	}
