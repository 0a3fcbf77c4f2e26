package traces

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// Collector is where traces go, and what they say of where they come from.
type Collector struct {
	Uploader
	Resource *resourcepb.Resource
}

// Environment returns the collector that OpenTelemetry's own variables (OTEL_...) name, false
// when they name none. Settings that cannot work are errors. Endpoint, headers, timeout,
// compression and certificates are read by OpenTelemetry's client out of the process's
// environment; getenv is that of the process but in tests.
func Environment(ctx context.Context, getenv func(string) string, farm, version string) (Collector, bool, error) {
	// What is said of traces counts before what is said of all.
	of := func(name string) (variable, value string) {
		for _, variable = range []string{"OTEL_EXPORTER_OTLP_TRACES_" + name, "OTEL_EXPORTER_OTLP_" + name} {
			if value = strings.TrimSpace(getenv(variable)); value != "" {
				break
			}
		}
		return variable, value
	}
	variable, endpoint := of("ENDPOINT")
	exporter := strings.TrimSpace(getenv("OTEL_TRACES_EXPORTER"))
	if endpoint == "" || exporter == "none" || strings.EqualFold(strings.TrimSpace(getenv("OTEL_SDK_DISABLED")), "true") {
		return Collector{}, false, nil
	}
	if exporter != "" && exporter != "otlp" {
		return Collector{}, false, fmt.Errorf("OTEL_TRACES_EXPORTER is %q; want otlp, or none", exporter)
	}
	if u, err := url.Parse(endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return Collector{}, false, fmt.Errorf("%s is %q; want a URL such as http://collector:4318", variable, endpoint)
	}
	if variable, protocol := of("PROTOCOL"); protocol != "" && !strings.HasPrefix(protocol, "http/") {
		return Collector{}, false, fmt.Errorf("%s is %q; want http/protobuf, for which collectors listen on port 4318", variable, protocol)
	}
	described, err := resource.New(ctx, resource.WithAttributes(
		semconv.ServiceName("slipway"), semconv.ServiceNamespace(farm), semconv.ServiceVersion(version),
	), resource.WithFromEnv())
	if err != nil {
		return Collector{}, false, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	client := otlptracehttp.NewClient()
	if err := client.Start(ctx); err != nil {
		return Collector{}, false, fmt.Errorf("OTEL_EXPORTER_OTLP_...: %w", err)
	}
	return Collector{client, &resourcepb.Resource{Attributes: pairs(described.Attributes())}}, true, nil
}
