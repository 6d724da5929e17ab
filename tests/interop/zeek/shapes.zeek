##! The two ways to publish an event, which differ in the metadata that they send along.

@load ./node

module Interop;

hook Interop::command(words: string_vec)
	{
	if ( words[0] == "cluster_publish" )
		Cluster::publish(words[1], Interop::note, words[2]);
	}
