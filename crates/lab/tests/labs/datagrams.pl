#!/usr/bin/perl
# Prints from which address each datagram came.
use strict;
use warnings;
use IO::Socket::IP;

$| = 1;
my $socket = IO::Socket::IP->new(
    LocalHost => '::', LocalPort => $ENV{PORT}, Proto => 'udp', V6Only => 0,
) or die "bind: $!\n";
print "listening\n";
while (defined $socket->recv(my $data, 64)) {
    print "$data from ", $socket->peerhost, "\n";
}
