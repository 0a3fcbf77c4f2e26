package main

import (
	"testing"
)

func TestUserCacheDir(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	for _, tt := range []struct {
		system string
		env    []string
		want   string
	}{
		{"linux", []string{"HOME=" + home}, home + "/.cache"},
		{"linux", []string{"HOME=" + home, "XDG_CACHE_HOME=/x"}, "/x"},
		{"linux", []string{"HOME=" + home, "XDG_CACHE_HOME=x"}, home + "/.cache"},
		{"linux", []string{"XDG_CACHE_HOME=/x"}, "/x"},
		{"linux", []string{"HOME=/nonexistent"}, ""},
		{"linux", nil, ""},
		{"darwin", []string{"HOME=" + home, "XDG_CACHE_HOME=/x"}, home + "/Library/Caches"},
		{"darwin", nil, ""},
		{"windows", []string{"LocalAppData=local"}, "local"},
		{"windows", []string{"HOME=" + home}, ""},
	} {
		if got := userCacheDir(tt.system, env(tt.env...)); got != tt.want {
			t.Errorf("on %s with %q: got %q, want %q", tt.system, tt.env, got, tt.want)
		}
	}
}
