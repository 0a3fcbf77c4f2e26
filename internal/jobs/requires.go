package jobs

// Requires restricts a job to workers that have all of it.
type Requires struct {
	// Platform as os/arch[/variant], such as linux/amd64.
	Platform string `json:"platform,omitempty"`
	// Labels a worker must carry with exactly these values. [HostLabel] may also be the
	// identity of its host.
	Labels map[string]string `json:"labels,omitempty"`
}

// HostLabel is the label by which a job requires a build host.
const HostLabel = "host"

func (p *problems) requires(r Requires) {
	p.match(platformPattern, "platform_invalid", "/requires/platform", r.Platform, "os/arch or os/arch/variant, such as linux/amd64")
	p.labels("/requires/labels", r.Labels)
}
