##! Writes records with every type that a log can have, here and to whoever has subscribed; and takes such records.

@load ./node

redef LogAscii::use_json = T;

module Interop;

export {
	redef enum Log::ID += { LOG };

	type Color: enum { RED, GREEN };

	type Info: record {
		ts: time;
		number: count;
		b: bool &optional;
		i: int &optional;
		d: double &optional;
		iv: interval &optional;
		s: string &optional;
		e: Color &optional;
		p: port &optional;
		a4: addr &optional;
		a6: addr &optional;
		n4: subnet &optional;
		n6: subnet &optional;
		sc: set[count] &optional;
		ss: set[string] &optional;
		vs: vector of string &optional;
		vd: vector of double &optional;
		es: set[addr] &optional;
		ev: vector of count &optional;
		f: function(i: count): string &optional;
	} &log;
}

function shout(i: count): string
	{
	return fmt("%d!", i);
	}

event zeek_init() &priority=5
	{
	Log::create_stream(Interop::LOG, [$columns=Interop::Info, $path="interop"]);
	}

function full(number: count): Info
	{
	local no_addrs: set[addr];
	local no_counts: vector of count;
	local holes: vector of double;
	holes[2] = 2.5;

	return Info($ts=double_to_time(1700000000.25), $number=number, $b=T, $i=-5, $d=0.1, $iv=1500 msec,
	            $s="quote \" and \\ and h\xc3\xa9 and \xff", $e=GREEN, $p=53/udp, $a4=192.0.2.7, $a6=[2001:db8::1],
	            $n4=10.0.0.0/8, $n6=[2001:db8::]/32, $sc=set(7), $ss=set("one"), $vs=vector("a", "", "c"), $vd=holes,
	            $es=no_addrs, $ev=no_counts, $f=shout);
	}

hook Interop::command(words: string_vec)
	{
	if ( words[0] == "log" )
		{
		local number = to_count(words[1]);

		# Every other record has nothing but what it must have.
		if ( number % 2 == 0 )
			Log::write(Interop::LOG, full(number));
		else
			Log::write(Interop::LOG, Info($ts=double_to_time(1700000000.5), $number=number));
		}

	else if ( words[0] == "flush" )
		{
		Log::flush(Interop::LOG);
		Broker::flush_logs();
		}
	}
