// Kubernetes says what Kubernetes' own types are on the wire, by the tags of its Go types.
//
//	kubernetes proto FOLDER   writes .proto files of the kinds that typed clients send
//	kubernetes random SEED N  prints N random objects of each kind, one a line: its protobuf in
//	                          base64, and its JSON
package main

import (
	"fmt"
	"os"
	"strconv"

	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	autoscaling "k8s.io/api/autoscaling/v1"
	batch "k8s.io/api/batch/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	events "k8s.io/api/events/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	extensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kinds are what bodies of requests may be.
var kinds = map[schema.GroupVersion][]any{
	{Version: "v1"}: {
		meta.DeleteOptions{}, meta.Status{},
		core.ConfigMap{}, core.Endpoints{}, core.Event{}, core.LimitRange{}, core.Namespace{}, core.Node{},
		core.PersistentVolume{}, core.PersistentVolumeClaim{}, core.Pod{}, core.ResourceQuota{},
		core.Secret{}, core.Service{}, core.ServiceAccount{},
	},
	apps.SchemeGroupVersion: {
		apps.DaemonSet{}, apps.Deployment{}, apps.ReplicaSet{}, apps.StatefulSet{},
	},
	authentication.SchemeGroupVersion: {
		authentication.SelfSubjectReview{}, authentication.TokenRequest{}, authentication.TokenReview{},
	},
	authorization.SchemeGroupVersion: {
		authorization.LocalSubjectAccessReview{}, authorization.SelfSubjectAccessReview{},
		authorization.SelfSubjectRulesReview{}, authorization.SubjectAccessReview{},
	},
	autoscaling.SchemeGroupVersion:  {autoscaling.Scale{}},
	batch.SchemeGroupVersion:        {batch.CronJob{}, batch.Job{}},
	coordination.SchemeGroupVersion: {coordination.Lease{}},
	discovery.SchemeGroupVersion:    {discovery.EndpointSlice{}},
	events.SchemeGroupVersion:       {events.Event{}},
	extensions.SchemeGroupVersion:   {extensions.CustomResourceDefinition{}},
	networking.SchemeGroupVersion: {
		networking.Ingress{}, networking.IngressClass{}, networking.NetworkPolicy{},
	},
	policy.SchemeGroupVersion: {policy.Eviction{}},
	rbac.SchemeGroupVersion: {
		rbac.ClusterRole{}, rbac.ClusterRoleBinding{}, rbac.Role{}, rbac.RoleBinding{},
	},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 2 && arguments[0] == "proto":
		return write(arguments[1])
	case len(arguments) == 3 && arguments[0] == "random":
		seed, err := strconv.ParseInt(arguments[1], 10, 64)
		if err != nil {
			return err
		}
		count, err := strconv.Atoi(arguments[2])
		if err != nil {
			return err
		}
		return random(seed, count)
	}
	return fmt.Errorf("usage: kubernetes proto FOLDER | kubernetes random SEED N")
}
