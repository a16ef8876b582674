// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRenamed(t *testing.T) {
	web, dns := balancerOf("web", addrs(vip1, vip6)), balancerOf("dns", addrs(vip2))
	for _, test := range []struct {
		name  string
		after []Balancer
		want  map[string]string
	}{
		{"nothing", []Balancer{web, dns}, map[string]string{"web": "web", "dns": "dns"}},
		{"another label", []Balancer{balancerOf("shop", addrs(vip6)), dns}, map[string]string{"web": "shop", "dns": "dns"}},
		{"other addresses", []Balancer{balancerOf("web", addrs(server(9).Address.Addr()))}, map[string]string{"web": "web"}},
		{
			"labels swapped", []Balancer{balancerOf("dns", addrs(vip1, vip6)), balancerOf("web", addrs(vip2))},
			map[string]string{"web": "dns", "dns": "web"},
		},
		{"gone", []Balancer{dns}, map[string]string{"dns": "dns"}},
	} {
		if diff := cmp.Diff(test.want, Renamed([]Balancer{web, dns}, test.after)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
