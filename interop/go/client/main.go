// Client is what programs for Kubernetes are made of: client-go's typed clients and informers, and
// those that Calico publishes. It makes, follows, changes and deletes objects on the server it is
// given, and fails where the server is not what these libraries expect.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	calico "github.com/projectcalico/api/pkg/apis/projectcalico/v3"
	calicoclient "github.com/projectcalico/api/pkg/client/clientset_generated/clientset"
	calicoinformers "github.com/projectcalico/api/pkg/client/informers_generated/externalversions"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const namespace = "interop"

// deadline is for each thing that is waited for: ten times what it should take.
const deadline = 30 * time.Second

type clients struct {
	core   kubernetes.Interface
	calico calicoclient.Interface
}

func main() {
	server := flag.String("server", "", "address of the API server")
	protobuf := flag.Bool("protobuf", false, "speak protobuf for Kubernetes' own kinds")
	flag.Parse()
	if err := run(*server, *protobuf); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func run(server string, protobuf bool) error {
	config := rest.Config{Host: server, QPS: 1000, Burst: 1000}
	calicoSet, err := calicoclient.NewForConfig(&config)
	if err != nil {
		return err
	}
	config.ContentType = "application/json"
	config.AcceptContentTypes = "application/json"
	if protobuf {
		config.ContentType = "application/vnd.kubernetes.protobuf"
		config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	}
	coreSet, err := kubernetes.NewForConfig(&config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := clients{coreSet, calicoSet}
	for _, step := range []struct {
		name string
		do   func(context.Context, clients) error
	}{
		{"namespaces and pods", pods},
		{"network policies", networkPolicies},
		{"Calico's policies", calicoPolicies},
		{"errors", mistakes},
		{"deleting a namespace", deleteNamespace},
	} {
		if err := step.do(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// soon waits until something is so.
func soon(ctx context.Context, what string, is func() (bool, error)) error {
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, deadline, true,
		func(context.Context) (bool, error) { return is() })
	if err != nil {
		return fmt.Errorf("never: %s: %w", what, err)
	}
	return nil
}

// present turns what a lister says into whether the object is there.
func present(err error) (bool, error) {
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func absent(err error) (bool, error) {
	there, err := present(err)
	return !there && err == nil, err
}

func synced[T comparable](seen map[T]bool) error {
	for informer, ok := range seen {
		if !ok {
			return fmt.Errorf("the informer of %v was never in sync", informer)
		}
	}
	return nil
}

func pods(ctx context.Context, c clients) error {
	factory := informers.NewSharedInformerFactory(c.core, 0)
	podLister := factory.Core().V1().Pods().Lister()
	accountLister := factory.Core().V1().ServiceAccounts().Lister()
	factory.Core().V1().Namespaces().Informer()
	factory.Start(ctx.Done())
	limited, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	if err := synced(factory.WaitForCacheSync(limited.Done())); err != nil {
		return err
	}
	ns := &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace}}
	made, err := c.core.CoreV1().Namespaces().Create(ctx, ns, meta.CreateOptions{})
	if err != nil {
		return err
	}
	if made.Labels["kubernetes.io/metadata.name"] != namespace || made.UID == "" {
		return fmt.Errorf("the namespace was stored as %+v", made)
	}
	err = soon(ctx, "the default service account", func() (bool, error) {
		_, err := accountLister.ServiceAccounts(namespace).Get("default")
		return present(err)
	})
	if err != nil {
		return err
	}
	pod := &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: "a", Labels: map[string]string{"app": "a"}},
		Spec:       core.PodSpec{Containers: []core.Container{{Name: "c", Image: "i"}}},
	}
	client := c.core.CoreV1().Pods(namespace)
	pod, err = client.Create(ctx, pod, meta.CreateOptions{})
	if err != nil {
		return err
	}
	pod.Status.Phase = core.PodRunning
	pod.Status.PodIP = "10.65.0.2"
	if _, err = client.UpdateStatus(ctx, pod, meta.UpdateOptions{}); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	patch := []byte(`{"metadata":{"labels":{"tier":"front"}}}`)
	if _, err = client.Patch(ctx, "a", types.StrategicMergePatchType, patch, meta.PatchOptions{}); err != nil {
		return fmt.Errorf("patch: %w", err)
	}
	err = soon(ctx, "the pod as it was changed", func() (bool, error) {
		pod, err := podLister.Pods(namespace).Get("a")
		if there, err := present(err); !there {
			return false, err
		}
		return pod.Labels["tier"] == "front" && pod.Status.PodIP == "10.65.0.2", nil
	})
	if err != nil {
		return err
	}
	list, err := client.List(ctx, meta.ListOptions{LabelSelector: "app in (a, b),tier"})
	if err != nil || len(list.Items) != 1 {
		return fmt.Errorf("a list by labels: %v %w", list, err)
	}
	if err = client.Delete(ctx, "a", meta.DeleteOptions{}); err != nil {
		return err
	}
	return soon(ctx, "the pod gone", func() (bool, error) {
		_, err := podLister.Pods(namespace).Get("a")
		return absent(err)
	})
}

func networkPolicies(ctx context.Context, c clients) error {
	client := c.core.NetworkingV1().NetworkPolicies(namespace)
	policy := &networking.NetworkPolicy{
		ObjectMeta: meta.ObjectMeta{GenerateName: "p-"},
		Spec: networking.NetworkPolicySpec{
			PodSelector: meta.LabelSelector{MatchLabels: map[string]string{"app": "a"}},
			PolicyTypes: []networking.PolicyType{networking.PolicyTypeIngress},
		},
	}
	made, err := client.Create(ctx, policy, meta.CreateOptions{})
	if err != nil {
		return err
	}
	watch, err := client.Watch(ctx, meta.ListOptions{ResourceVersion: made.ResourceVersion})
	if err != nil {
		return err
	}
	defer watch.Stop()
	if err = client.Delete(ctx, made.Name, meta.DeleteOptions{}); err != nil {
		return err
	}
	select {
	case event := <-watch.ResultChan():
		gone, ok := event.Object.(*networking.NetworkPolicy)
		if event.Type != "DELETED" || !ok || gone.Name != made.Name {
			return fmt.Errorf("the watch said %v %T", event.Type, event.Object)
		}
	case <-time.After(deadline):
		return fmt.Errorf("the watch says nothing")
	}
	return nil
}

func calicoPolicies(ctx context.Context, c clients) error {
	factory := calicoinformers.NewSharedInformerFactory(c.calico, 0)
	lister := factory.Projectcalico().V3().NetworkPolicies().Lister()
	globals := factory.Projectcalico().V3().GlobalNetworkPolicies().Lister()
	factory.Start(ctx.Done())
	limited, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	if err := synced(factory.WaitForCacheSync(limited.Done())); err != nil {
		return err
	}
	v3 := c.calico.ProjectcalicoV3()
	client := v3.NetworkPolicies(namespace)
	policy := &calico.NetworkPolicy{
		ObjectMeta: meta.ObjectMeta{Name: "web"},
		Spec: calico.NetworkPolicySpec{
			Selector: "app == 'a'",
			Types:    []calico.PolicyType{calico.PolicyTypeIngress},
			Ingress: []calico.Rule{{
				Action: calico.Allow,
				HTTP:   &calico.HTTPMatch{Methods: []string{"GET"}},
			}},
		},
	}
	made, err := client.Create(ctx, policy, meta.CreateOptions{})
	if err != nil {
		return err
	}
	err = soon(ctx, "the policy", func() (bool, error) {
		_, err := lister.NetworkPolicies(namespace).Get("web")
		return present(err)
	})
	if err != nil {
		return err
	}
	made.Spec.Selector = "app == 'b'"
	changed, err := client.Update(ctx, made, meta.UpdateOptions{})
	if err != nil {
		return err
	}
	if changed.Generation <= made.Generation {
		return fmt.Errorf("the generation stays at %d", changed.Generation)
	}
	if _, err = client.Update(ctx, made, meta.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("an update of an old state should conflict: %v", err)
	}
	err = soon(ctx, "the policy as it was changed", func() (bool, error) {
		policy, err := lister.NetworkPolicies(namespace).Get("web")
		if there, err := present(err); !there {
			return false, err
		}
		return policy.Spec.Selector == "app == 'b'", nil
	})
	if err != nil {
		return err
	}
	global := &calico.GlobalNetworkPolicy{
		ObjectMeta: meta.ObjectMeta{Name: "g"},
		Spec: calico.GlobalNetworkPolicySpec{
			Selector: "all()",
			Egress:   []calico.Rule{{Action: calico.Deny}},
		},
	}
	if _, err = v3.GlobalNetworkPolicies().Create(ctx, global, meta.CreateOptions{}); err != nil {
		return err
	}
	err = soon(ctx, "the global policy", func() (bool, error) {
		all, err := globals.List(labels.Everything())
		return len(all) == 1, err
	})
	if err != nil {
		return err
	}
	if err = v3.GlobalNetworkPolicies().Delete(ctx, "g", meta.DeleteOptions{}); err != nil {
		return err
	}
	if err = client.Delete(ctx, "web", meta.DeleteOptions{}); err != nil {
		return err
	}
	return soon(ctx, "everything gone", func() (bool, error) {
		policies, err := lister.List(labels.Everything())
		if err != nil {
			return false, err
		}
		all, err := globals.List(labels.Everything())
		return len(policies) == 0 && len(all) == 0, err
	})
}

func mistakes(ctx context.Context, c clients) error {
	_, err := c.core.CoreV1().Pods(namespace).Get(ctx, "nobody", meta.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("a pod that is not there: %v", err)
	}
	ns := &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace}}
	_, err = c.core.CoreV1().Namespaces().Create(ctx, ns, meta.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("a namespace that is there: %v", err)
	}
	set := &calico.GlobalNetworkSet{
		ObjectMeta: meta.ObjectMeta{Name: "s"},
		Spec:       calico.GlobalNetworkSetSpec{Nets: []string{"nonsense"}},
	}
	_, err = c.calico.ProjectcalicoV3().GlobalNetworkSets().Create(ctx, set, meta.CreateOptions{})
	if !apierrors.IsInvalid(err) {
		return fmt.Errorf("a set that makes no sense: %v", err)
	}
	policy := &networking.NetworkPolicy{
		ObjectMeta: meta.ObjectMeta{Name: "p"},
		Spec: networking.NetworkPolicySpec{
			Ingress: []networking.NetworkPolicyIngressRule{{
				Ports: []networking.NetworkPolicyPort{{Port: &intstr.IntOrString{IntVal: 99999}}},
			}},
		},
	}
	_, err = c.core.NetworkingV1().NetworkPolicies(namespace).Create(ctx, policy, meta.CreateOptions{})
	if !apierrors.IsInvalid(err) {
		return fmt.Errorf("a policy with a port that is none: %v", err)
	}
	return nil
}

func deleteNamespace(ctx context.Context, c clients) error {
	client := c.core.CoreV1().Namespaces()
	if err := client.Delete(ctx, namespace, meta.DeleteOptions{}); err != nil {
		return err
	}
	return soon(ctx, "the namespace gone", func() (bool, error) {
		_, err := client.Get(ctx, namespace, meta.GetOptions{})
		return absent(err)
	})
}
