package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand"
	"reflect"
	"time"

	extensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"
)

// words may be any text that JSON and protobuf both have.
var words = []string{"", "a", "web", "0", "é", "a\"b", "<&>", "tab\t", "\u2028"}

// functions fill the types whose fields hang together.
var functions = []any{
	// Within objects it is not on the wire.
	func(*meta.TypeMeta, randfill.Continue) {},
	func(text *string, c randfill.Continue) { *text = words[c.Intn(len(words))] },
	// Nothing and no bytes are one on the wire.
	func(bytes *[]byte, c randfill.Continue) { *bytes = []byte(words[1+c.Intn(len(words)-1)]) },
	func(t *meta.Time, c randfill.Continue) {
		*t = meta.Time{}
		if c.Bool() {
			*t = meta.Unix(c.Int63n(1<<32), 0)
		}
	},
	func(t *meta.MicroTime, c randfill.Continue) {
		*t = meta.NewMicroTime(time.Unix(c.Int63n(1<<32), c.Int63n(1_000_000)*1000))
	},
	func(q *resource.Quantity, c randfill.Continue) {
		*q = *resource.NewMilliQuantity(c.Int63n(1<<40), resource.DecimalSI)
	},
	func(v *intstr.IntOrString, c randfill.Continue) {
		*v = intstr.FromInt32(c.Int31())
		if c.Bool() {
			*v = intstr.FromString(words[c.Intn(len(words))])
		}
	},
	func(f *meta.FieldsV1, _ randfill.Continue) { f.Raw = []byte(`{"f:metadata":{}}`) },
	func(r *runtime.RawExtension, _ randfill.Continue) { r.Raw = []byte(`{"a":[1,"b"]}`) },
	func(j *extensions.JSON, c randfill.Continue) {
		j.Raw = [][]byte{[]byte("1"), []byte(`"x"`), []byte(`{"a":null}`)}[c.Intn(3)]
	},
	func(s *extensions.JSONSchemaPropsOrArray, c randfill.Continue) {
		if c.Bool() {
			s.Schema = &extensions.JSONSchemaProps{Type: "string"}
		} else {
			s.JSONSchemas = []extensions.JSONSchemaProps{{Type: "integer"}, {Nullable: true}}
		}
	},
	func(s *extensions.JSONSchemaPropsOrBool, c randfill.Continue) {
		if s.Allows = c.Bool(); c.Bool() {
			*s = extensions.JSONSchemaPropsOrBool{Allows: true, Schema: &extensions.JSONSchemaProps{ID: "x"}}
		}
	},
	func(s *extensions.JSONSchemaPropsOrStringArray, c randfill.Continue) {
		if c.Bool() {
			s.Schema = &extensions.JSONSchemaProps{Type: "string"}
		} else {
			s.Property = []string{"a", "b"}
		}
	},
	func(s *extensions.JSONSchemaProps, c randfill.Continue) {
		// It has itself within: no deeper than one.
		s.Type, s.Format, s.XPreserveUnknownFields = "object", words[c.Intn(len(words))], new(bool)
		s.Properties = map[string]extensions.JSONSchemaProps{"a": {Type: "string", MaxLength: new(int64)}}
		c.Fill(&s.Default)
		c.Fill(&s.Enum)
		c.Fill(&s.Items)
		c.Fill(&s.AdditionalProperties)
		c.Fill(&s.Dependencies)
		c.Fill(&s.XListMapKeys)
		// Exact in two as in ten.
		maximum := float64(c.Intn(1000)) / 8
		s.Maximum = &maximum
	},
}

// line is one object in two encodings.
type line struct {
	Protobuf string          `json:"protobuf"`
	JSON     json.RawMessage `json:"json"`
}

func random(seed int64, count int) error {
	filler := randfill.New().RandSource(rand.NewSource(seed)).NilChance(0.3).NumElements(1, 2).
		MaxDepth(14).Funcs(functions...)
	encoder := protobuf.NewSerializer(nil, nil)
	for version, all := range kinds {
		for _, one := range all {
			for range count {
				pointer := reflect.New(reflect.TypeOf(one))
				filler.Fill(pointer.Interface())
				object := pointer.Interface().(runtime.Object)
				kind := version.WithKind(pointer.Elem().Type().Name())
				object.GetObjectKind().SetGroupVersionKind(kind)
				if err := print(encoder, object); err != nil {
					return fmt.Errorf("%s: %w", kind, err)
				}
			}
		}
	}
	return nil
}

func print(encoder runtime.Encoder, object runtime.Object) error {
	var wire bytes.Buffer
	if err := encoder.Encode(object, &wire); err != nil {
		return err
	}
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	encoded := line{Protobuf: base64.StdEncoding.EncodeToString(wire.Bytes()), JSON: text}
	out, err := json.Marshal(encoded)
	if err != nil {
		return err
	}
	_, err = fmt.Println(string(out))
	return err
}
