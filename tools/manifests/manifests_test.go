package manifests

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// decoder takes the documents of these groups alone, and no field that they do not have or
// that comes twice.
func decoder(t *testing.T) runtime.Decoder {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
}

// documents are the objects in the manifests, by the names of their files.
func documents(t *testing.T) map[string][]runtime.Object {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "deploy", "kubernetes", "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v; want the manifests", len(files), err)
	}
	all := map[string][]runtime.Object{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, d := filepath.Base(file), decoder(t)
		for r := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
			doc, err := r.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			o, _, err := d.Decode(doc, nil, nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			all[name] = append(all[name], o)
		}
	}
	return all
}

// workload is what the kinds that make pods have in common.
type workload struct {
	name     string
	selector *metav1.LabelSelector
	pod      corev1.PodTemplateSpec
	claims   []corev1.PersistentVolumeClaim
	service  string // of a StatefulSet
}

func workloads(objects []runtime.Object) (all []workload) {
	for _, o := range objects {
		switch o := o.(type) {
		case *appsv1.Deployment:
			all = append(all, workload{name: o.Name, selector: o.Spec.Selector, pod: o.Spec.Template})
		case *appsv1.DaemonSet:
			all = append(all, workload{name: o.Name, selector: o.Spec.Selector, pod: o.Spec.Template})
		case *appsv1.StatefulSet:
			all = append(all, workload{o.Name, o.Spec.Selector, o.Spec.Template, o.Spec.VolumeClaimTemplates, o.Spec.ServiceName})
		}
	}
	return all
}

// containers are all of a pod's.
func containers(p corev1.PodSpec) []corev1.Container {
	return append(slices.Clone(p.InitContainers), p.Containers...)
}

// Every document is one that Kubernetes knows, in the farm's namespace.
func TestDocuments(t *testing.T) {
	t.Parallel()
	for file, objects := range documents(t) {
		for _, o := range objects {
			m, ok := o.(metav1.Object)
			if !ok {
				t.Errorf("%s: %T has no name", file, o)
				continue
			}
			if _, ok := o.(*corev1.Namespace); !ok && m.GetNamespace() != "slipway" {
				t.Errorf("%s: %s is in the namespace %q", file, m.GetName(), m.GetNamespace())
			}
		}
	}
}

// A field that is not there is found, and so is one that comes twice.
func TestStrict(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: x, nmae: y}\n",
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\nmetadata: {name: y}\n",
		"apiVersion: v1\nkind: Nothing\nmetadata: {name: x}\n",
	} {
		if _, _, err := decoder(t).Decode([]byte(text), nil, nil); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// What the API server would refuse, or take without any use: pods that their own selector
// does not find, mounts without a volume, probes of ports that have no name.
func TestPods(t *testing.T) {
	t.Parallel()
	found := 0
	for file, objects := range documents(t) {
		for _, w := range workloads(objects) {
			found++
			s, err := metav1.LabelSelectorAsSelector(w.selector)
			if err != nil || s.Empty() || !s.Matches(labels.Set(w.pod.Labels)) {
				t.Errorf("%s: %s selects %v, %v; its pods have %v", file, w.name, s, err, w.pod.Labels)
			}
			var volumes []string
			for _, v := range w.pod.Spec.Volumes {
				volumes = append(volumes, v.Name)
			}
			for _, c := range w.claims {
				volumes = append(volumes, c.Name)
			}
			for _, c := range containers(w.pod.Spec) {
				if len(c.Resources.Requests) == 0 {
					t.Errorf("%s: %s asks for no resources", file, c.Name)
				}
				for _, m := range c.VolumeMounts {
					if !slices.Contains(volumes, m.Name) {
						t.Errorf("%s: %s mounts %s; the pod has %v", file, c.Name, m.Name, volumes)
					}
				}
				for _, p := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
					if p == nil || p.HTTPGet == nil || p.HTTPGet.Port.StrVal == "" {
						continue
					}
					if !slices.ContainsFunc(c.Ports, func(port corev1.ContainerPort) bool { return port.Name == p.HTTPGet.Port.StrVal }) {
						t.Errorf("%s: %s is probed at %s; it has %v", file, c.Name, p.HTTPGet.Port.StrVal, c.Ports)
					}
				}
			}
		}
	}
	if found != 4 {
		t.Errorf("%d kinds of pods; want Redis, the server and two kinds of workers", found)
	}
}

// Services lead to pods and ports that there are, and what names a Service names one of them.
func TestServices(t *testing.T) {
	t.Parallel()
	services := map[string]*corev1.Service{}
	var pods []workload
	for _, objects := range documents(t) {
		pods = append(pods, workloads(objects)...)
		for _, o := range objects {
			if s, ok := o.(*corev1.Service); ok {
				services[s.Name] = s
			}
		}
	}
	for _, s := range services {
		for _, port := range s.Spec.Ports {
			if !slices.ContainsFunc(pods, func(w workload) bool {
				return labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(w.pod.Labels)) && hasPort(w.pod.Spec, port.TargetPort.StrVal)
			}) {
				t.Errorf("%s leads to %v at %s; no pod has that", s.Name, s.Spec.Selector, port.TargetPort.StrVal)
			}
		}
	}
	for _, w := range pods {
		if w.service != "" && services[w.service] == nil {
			t.Errorf("%s is of the Service %s; there is none", w.name, w.service)
		}
	}
	for file, objects := range documents(t) {
		for _, o := range objects {
			in, ok := o.(*networkingv1.Ingress)
			if !ok {
				continue
			}
			for _, r := range in.Spec.Rules {
				for _, p := range r.HTTP.Paths {
					s := services[p.Backend.Service.Name]
					if s == nil || !slices.ContainsFunc(s.Spec.Ports, func(port corev1.ServicePort) bool { return port.Name == p.Backend.Service.Port.Name }) {
						t.Errorf("%s: leads to %+v; no Service has that", file, p.Backend.Service)
					}
				}
			}
		}
	}
}

func hasPort(p corev1.PodSpec, name string) bool {
	return slices.ContainsFunc(containers(p), func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Ports, func(port corev1.ContainerPort) bool { return port.Name == name })
	})
}
