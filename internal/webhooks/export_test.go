package webhooks

// Accepted and Said open a verdict to tests.
func (v verdict) Accepted() bool { return v.accepted }
func (v verdict) Said() string   { return v.said }
