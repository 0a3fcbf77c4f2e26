package settings

import (
	"slices"
	"testing"
)

func TestOwnPorts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(c *Settings)
		env    map[string]string
		want   []int
	}{
		{"defaults", func(*Settings) {}, nil, []int{2375, 2376, 6379, 18080}},
		{"no admin port, Redis on a socket", func(c *Settings) { c.Admin, c.Redis = "", "unix:///run/redis.sock" }, nil, []int{2375, 2376}},
		{"a port that the system picks", func(c *Settings) { c.Admin = "127.0.0.1:0" }, nil, []int{2375, 2376, 6379}},
		{"Redis of a compose file", func(c *Settings) { c.Redis = "redis://redis:6400/0" }, nil, []int{2375, 2376, 6400, 18080}},
		{"sentinels", func(c *Settings) { c.Redis = "redis+sentinel://a:26379/0?master_name=m&addr=b:26380" }, nil, []int{2375, 2376, 18080, 26379, 26380}},
		{"a daemon on TCP", func(c *Settings) { c.DockerHost = "tcp://127.0.0.1:4243" }, nil, []int{2375, 2376, 4243, 6379, 18080}},
		{"a daemon of the environment", func(*Settings) {}, map[string]string{"DOCKER_HOST": "tcp://127.0.0.1:4243"}, []int{2375, 2376, 4243, 6379, 18080}},
		{"a bucket", func(c *Settings) { c.Store = "s3://bucket/x" }, map[string]string{"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}, []int{2375, 2376, 6379, 9000, 18080}},
		{"no bucket", func(*Settings) {}, map[string]string{"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}, []int{2375, 2376, 6379, 18080}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := Defaults()
			tt.change(&c)
			if got := c.OwnPorts(t.Context(), func(k string) string { return tt.env[k] }); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
