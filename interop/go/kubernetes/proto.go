package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	certificates "k8s.io/api/certificates/v1"
	extensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// special types are not on the wire what they are in Go; where JSON has them as something else again,
// the server knows it by the name of the message.
var special = map[reflect.Type]string{
	reflect.TypeOf(meta.Time{}):                 "  optional int64 seconds = 1;\n  optional int32 nanos = 2;\n",
	reflect.TypeOf(meta.MicroTime{}):            "  optional int64 seconds = 1;\n  optional int32 nanos = 2;\n",
	reflect.TypeOf(meta.FieldsV1{}):             "  bytes Raw = 1;\n",
	reflect.TypeOf(resource.Quantity{}):         "  string string = 1;\n",
	reflect.TypeOf(intstr.IntOrString{}):        "  int64 type = 1;\n  int32 intVal = 2;\n  string strVal = 3;\n",
	reflect.TypeOf(runtime.RawExtension{}):      "  bytes raw = 1;\n",
	reflect.TypeOf(extensions.JSON{}):           "  bytes raw = 1;\n",
	reflect.TypeOf(authentication.ExtraValue{}): "  repeated string items = 1;\n",
	reflect.TypeOf(authorization.ExtraValue{}):  "  repeated string items = 1;\n",
	reflect.TypeOf(certificates.ExtraValue{}):   "  repeated string items = 1;\n",
}

// unknown is how each body begins, after four bytes.
const unknown = `message TypeMeta {
  string apiVersion = 1;
  string kind = 2;
}

message Unknown {
  TypeMeta typeMeta = 1;
  bytes raw = 2;
  string contentEncoding = 3;
  string contentType = 4;
}
`

// file is one .proto file in the making: one package of Go.
type file struct {
	imports  map[string]bool
	messages map[string]string
}

// writer goes through types, each once.
type writer struct {
	// The apiVersion of those that are kinds.
	kinds map[reflect.Type]string
	seen  map[reflect.Type]bool
	files map[string]*file
}

// write makes a .proto file for each package of Go that a kind needs.
func write(folder string) error {
	w := writer{
		kinds: map[reflect.Type]string{}, seen: map[reflect.Type]bool{}, files: map[string]*file{},
	}
	for version, all := range kinds {
		for _, one := range all {
			w.kinds[reflect.TypeOf(one)] = version.String()
		}
	}
	for kind := range w.kinds {
		if err := w.message(kind); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	w.file("k8s.io/apimachinery/pkg/runtime").messages["Unknown"] = unknown
	for path, file := range w.files {
		target := filepath.Join(folder, path+".proto")
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, []byte(file.text(path)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func packageOf(path string) string {
	return strings.NewReplacer("/", ".", "-", "_").Replace(path)
}

func (w *writer) file(path string) *file {
	if w.files[path] == nil {
		w.files[path] = &file{imports: map[string]bool{}, messages: map[string]string{}}
	}
	return w.files[path]
}

func (f *file) text(path string) string {
	var out strings.Builder
	out.WriteString("// Made by interop/go/kubernetes from the tags of Go types.\nsyntax = \"proto3\";\n\n")
	fmt.Fprintf(&out, "package %s;\n\n", packageOf(path))
	for _, one := range sorted(f.imports) {
		if one != path {
			fmt.Fprintf(&out, "import \"kubernetes/%s.proto\";\n", one)
		}
	}
	for _, name := range sorted(f.messages) {
		out.WriteString("\n" + f.messages[name])
	}
	return out.String()
}

func sorted[V any](all map[string]V) []string {
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// message writes a type and all that it refers to.
func (w *writer) message(t reflect.Type) error {
	if w.seen[t] {
		return nil
	}
	w.seen[t] = true
	file := w.file(t.PkgPath())
	if body, ok := special[t]; ok {
		file.messages[t.Name()] = fmt.Sprintf("message %s {\n%s}\n", t.Name(), body)
		return nil
	}
	body := ""
	if version, ok := w.kinds[t]; ok {
		file.imports["options"] = true
		body = fmt.Sprintf("  option (tortie.kubernetes.kind) = \"%s\";\n", version)
	}
	fields := map[int]string{}
	for i := range t.NumField() {
		number, line, err := w.field(file, t.Field(i))
		if err != nil {
			return fmt.Errorf("%s: %w", t.Field(i).Name, err)
		}
		if line != "" {
			fields[number] = line
		}
	}
	numbers := make([]int, 0, len(fields))
	for number := range fields {
		numbers = append(numbers, number)
	}
	sort.Ints(numbers)
	for _, number := range numbers {
		body += fields[number]
	}
	file.messages[t.Name()] = fmt.Sprintf("message %s {\n%s}\n", t.Name(), body)
	return nil
}

// field gives the number and the line of a field, or nothing for what is not on the wire.
func (w *writer) field(file *file, field reflect.StructField) (int, string, error) {
	wire, name, named := strings.Cut(field.Tag.Get("protobuf"), ",name=")
	if wire == "" || wire == "-" {
		return 0, "", nil
	}
	if name, _, _ = strings.Cut(name, ","); !named {
		name = strings.ToLower(field.Name[:1]) + field.Name[1:]
	}
	var number int
	if _, err := fmt.Sscan(strings.Split(wire, ",")[1], &number); err != nil {
		return 0, "", err
	}
	kind, err := w.typed(file, field)
	if err != nil {
		return 0, "", err
	}
	options := options(field, name)
	if len(options) > 0 && strings.Contains(strings.Join(options, ""), "tortie") {
		file.imports["options"] = true
	}
	line := fmt.Sprintf("  %s %s = %d", kind, name, number)
	if len(options) > 0 {
		line += " [" + strings.Join(options, ", ") + "]"
	}
	return number, line + ";\n", nil
}

// options say what the wire does not: how JSON calls it, and how patches treat it.
func options(field reflect.StructField, name string) []string {
	var all []string
	json := strings.Split(field.Tag.Get("json"), ",")
	switch {
	case json[0] == "" && len(json) > 1 && json[1] == "inline":
		all = append(all, "(tortie.kubernetes.inline) = true")
	case json[0] != "" && json[0] != name:
		all = append(all, fmt.Sprintf("json_name = \"%s\"", json[0]))
	}
	for _, strategy := range strings.Split(field.Tag.Get("patchStrategy"), ",") {
		if strategy != "" {
			all = append(all, fmt.Sprintf("(tortie.kubernetes.patch_strategy) = \"%s\"", strategy))
		}
	}
	if key := field.Tag.Get("patchMergeKey"); key != "" {
		all = append(all, fmt.Sprintf("(tortie.kubernetes.merge_key) = \"%s\"", key))
	}
	return all
}

// typed is the type of a field with its label. A scalar whose zero is written in JSON, because it is a
// pointer or always written, is `optional`.
func (w *writer) typed(file *file, field reflect.StructField) (string, error) {
	t, pointer := field.Type, field.Type.Kind() == reflect.Pointer
	if pointer {
		t = t.Elem()
	}
	_, known := special[t]
	switch {
	case known:
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		element, err := w.name(file, t.Elem())
		return "repeated " + element, err
	case t.Kind() == reflect.Map:
		value, err := w.name(file, t.Elem())
		return fmt.Sprintf("map<string, %s>", value), err
	case t.Kind() == reflect.Struct:
	default:
		name, err := w.name(file, t)
		if pointer || !strings.Contains(field.Tag.Get("json"), ",omit") {
			name = "optional " + name
		}
		return name, err
	}
	return w.name(file, t)
}

// name is the name of a type, which is written if it is a message.
func (w *writer) name(file *file, t reflect.Type) (string, error) {
	if _, known := special[t]; !known {
		switch t.Kind() {
		case reflect.String:
			return "string", nil
		case reflect.Bool:
			return "bool", nil
		case reflect.Int32:
			return "int32", nil
		case reflect.Int64:
			return "int64", nil
		case reflect.Float64:
			return "double", nil
		case reflect.Slice:
			if t.Elem().Kind() == reflect.Uint8 {
				return "bytes", nil
			}
			return "", fmt.Errorf("a list within a list: %s", t)
		case reflect.Struct:
		default:
			return "", fmt.Errorf("what is %s?", t)
		}
	}
	file.imports[t.PkgPath()] = true
	name := "." + packageOf(t.PkgPath()) + "." + t.Name()
	if w.file(t.PkgPath()) == file {
		name = t.Name()
	}
	return name, w.message(t)
}
