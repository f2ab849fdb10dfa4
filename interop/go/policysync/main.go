// Joins a socket of Policy Sync and prints the messages as JSON, one a line, until the first one
// that says everything is in sync or, with -all, until the stream ends.
//
// It knows nothing of Tortie's Rust: gRPC, protobuf and its JSON are those of Go's own libraries,
// and what messages look like is read from the descriptor that is given.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

func main() {
	socket := flag.String("socket", "", "the workload's socket")
	descriptor := flag.String("descriptor", "", "a file descriptor set with package felix")
	all := flag.Bool("all", false, "go on after being in sync")
	report := flag.Bool("report", false, "report statistics first")
	flag.Parse()
	if err := run(*socket, *descriptor, *all, *report); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(socket, descriptor string, all, report bool) error {
	types, err := load(descriptor)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("unix:"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	if report {
		if err := send(conn, types); err != nil {
			return err
		}
	}
	return watch(conn, types, all)
}

// load finds the messages that a descriptor describes.
func load(path string) (func(name protoreflect.FullName) *dynamicpb.Message, error) {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(bytes, &set); err != nil {
		return nil, err
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, err
	}
	return func(name protoreflect.FullName) *dynamicpb.Message {
		found, err := files.FindDescriptorByName(name)
		if err != nil {
			panic(fmt.Sprintf("%s: %v", name, protoregistry.NotFound))
		}
		return dynamicpb.NewMessage(found.(protoreflect.MessageDescriptor))
	}, nil
}

// send reports the statistics of one flow.
func send(conn *grpc.ClientConn, message func(protoreflect.FullName) *dynamicpb.Message) error {
	stats, result := message("felix.DataplaneStats"), message("felix.ReportResult")
	fields := stats.Descriptor().Fields()
	stats.Set(fields.ByName("src_ip"), protoreflect.ValueOfString("10.0.0.1"))
	stats.Set(fields.ByName("dst_port"), protoreflect.ValueOfInt32(80))
	if err := conn.Invoke(context.Background(), "/felix.PolicySync/Report", stats, result); err != nil {
		return err
	}
	return print(result)
}

func watch(conn *grpc.ClientConn, message func(protoreflect.FullName) *dynamicpb.Message, all bool) error {
	stream, err := conn.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true},
		"/felix.PolicySync/Sync")
	if err != nil {
		return err
	}
	if err := stream.SendMsg(message("felix.SyncRequest")); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		next := message("felix.ToDataplane")
		if err := stream.RecvMsg(next); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := print(next); err != nil {
			return err
		}
		inSync := next.Descriptor().Fields().ByName("in_sync")
		if next.Has(inSync) && !all {
			return nil
		}
	}
}

func print(message proto.Message) error {
	line, err := protojson.Marshal(message)
	if err != nil {
		return err
	}
	_, err = fmt.Println(string(line))
	return err
}
