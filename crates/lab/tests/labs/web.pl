#!/usr/bin/perl
# A web server for tests: says on which pod it runs and who asked.
use strict;
use warnings;
use IO::Socket::IP;

my $server = IO::Socket::IP->new(
    LocalHost => '::', LocalPort => $ENV{PORT}, Listen => 64, ReuseAddr => 1, V6Only => 0,
) or die "listen: $!\n";
print STDERR "listening on $ENV{PORT}\n";
while (my $client = $server->accept) {
    my $peer = $client->peerhost // '';
    while (my $line = <$client>) { last if $line =~ /^\r?\n$/ }
    my $body = "$ENV{HOSTNAME} $peer\n";
    print $client "HTTP/1.1 200 OK\r\ncontent-length: " . length($body)
        . "\r\nconnection: close\r\n\r\n$body";
    close $client;
}
