// Crds says whether a Kubernetes API server would take the definitions of a folder, and which
// documents it would admit by them. It runs the server's own code, without a server.
//
//	crds FOLDER < DOCUMENTS
//
// Documents are JSON, one a line. For each one line of JSON comes out: the errors as a list of
// text, or null for a kind that the folder does not define. Definitions that a server would refuse
// are named on standard error, and the exit status is 1.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	definitions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	limits "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// longest line read, in bytes
const maxLine = 64 << 20

// kind checks the documents of one kind.
type kind struct {
	structural *schema.Structural
	schema     validation.SchemaValidator
	rules      *cel.Validator
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: crds FOLDER < DOCUMENTS")
		os.Exit(2)
	}
	kinds, err := read(os.Args[1])
	if err == nil {
		err = check(kinds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// read loads the definitions of a folder, by apiVersion and kind.
func read(folder string) (map[string]*kind, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no definitions", folder)
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	kinds := map[string]*kind{}
	for _, file := range files {
		if err := add(scheme, file, kinds); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return kinds, nil
}

func add(scheme *runtime.Scheme, file string, kinds map[string]*kind) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	external := &v1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, external); err != nil {
		return err
	}
	scheme.Default(external)
	crd := &apiextensions.CustomResourceDefinition{}
	if err := scheme.Convert(external, crd, nil); err != nil {
		return err
	}
	// What the server itself fills in on creation.
	crd.Status.StoredVersions = []string{crd.Spec.Versions[0].Name}
	if errs := definitions.ValidateCustomResourceDefinition(context.Background(), crd); len(errs) > 0 {
		return errs.ToAggregate()
	}
	for _, version := range crd.Spec.Versions {
		known, err := newKind(crd, version)
		if err != nil {
			return err
		}
		kinds[crd.Spec.Group+"/"+version.Name+" "+crd.Spec.Names.Kind] = known
	}
	return nil
}

func newKind(crd *apiextensions.CustomResourceDefinition, version apiextensions.CustomResourceDefinitionVersion) (*kind, error) {
	props := version.Schema
	if props == nil {
		props = crd.Spec.Validation
	}
	structural, err := schema.NewStructural(props.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(props.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	return &kind{structural, validator, cel.NewValidator(structural, true, limits.PerCallLimit)}, nil
}

func check(kinds map[string]*kind) error {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, maxLine)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		document := &unstructured.Unstructured{}
		if err := document.UnmarshalJSON(in.Bytes()); err != nil {
			return err
		}
		known := kinds[document.GetAPIVersion()+" "+document.GetKind()]
		var errs []string
		if known != nil {
			errs = known.errors(document.Object)
		}
		if err := out.Encode(errs); err != nil {
			return err
		}
	}
	return in.Err()
}

// errors does to a document what a server does to one that is created, fields it does not know
// counting as errors, as they do for kubectl.
func (k *kind) errors(document map[string]any) []string {
	found := []string{}
	unknown := pruning.PruneWithOptions(document, k.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, field := range unknown {
		found = append(found, field+": unknown field")
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(document, k.structural)
	defaulting.Default(document, k.structural)
	errs := validation.ValidateCustomResource(nil, document, k.schema)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, document)...)
	if k.rules != nil && len(errs) == 0 {
		broken, _ := k.rules.Validate(context.Background(), nil, k.structural, document, nil, limits.RuntimeCELCostBudget)
		errs = append(errs, broken...)
	}
	for _, err := range errs {
		found = append(found, err.Error())
	}
	return found
}
