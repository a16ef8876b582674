// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weirlb/weir/pkg/dataplane"
)

// nameRow is an entry of names.
type nameRow struct {
	Kind  string `json:"kind"`
	ID    uint32 `json:"id"`
	Label string `json:"label"`
}

func nameColumns() []column {
	return []column{{name: "KIND"}, {name: "ID", right: true}, {name: "LABEL"}}
}

func (r nameRow) cells() []string { return []string{r.Kind, countText(r.ID), r.Label} }

const (
	kindBalancer = "balancer"
	kindBackend  = "backend"
)

func kindText(k dataplane.NameKind) string {
	switch k {
	case dataplane.NameBalancer:
		return kindBalancer
	case dataplane.NameBackend:
		return kindBackend
	}
	return strconv.FormatUint(uint64(k), 10)
}

func dumpNames(in *inspection) (listing, error) {
	names, err := in.tables.Names()
	if err != nil {
		return listing{}, err
	}
	keys := slices.SortedFunc(maps.Keys(names), func(a, b dataplane.NameKey) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	var rows []nameRow
	for _, k := range keys {
		rows = append(rows, nameRow{Kind: kindText(k.Kind), ID: k.ID, Label: names[k]})
	}
	return listOf(rows, nameColumns(), nameRow.cells), nil
}

func lookupName(key string) (func(*inspection) (listing, error), error) {
	kind, id, _ := strings.Cut(key, "/")
	n, err := strconv.ParseUint(id, 10, 32)
	k := dataplane.NameKey{ID: uint32(n)}
	switch kind {
	case kindBalancer:
		k.Kind = dataplane.NameBalancer
	case kindBackend:
		k.Kind = dataplane.NameBackend
	}
	if err != nil || k.Kind == 0 {
		return nil, badKey("names", key, "balancer/1 or backend/7")
	}
	return func(in *inspection) (listing, error) {
		label, ok, err := in.tables.LookupName(k)
		return one("names", key, ok, err, nameRow{Kind: kind, ID: k.ID, Label: label}, nameColumns(), nameRow.cells)
	}, nil
}

// vipRow is an entry of vips.
type vipRow struct {
	Address    netip.Addr `json:"address"`
	Balancer   string     `json:"balancer"`
	BalancerID uint32     `json:"balancer_id"`
	TCP        bool       `json:"tcp"` // the balancer has listeners of that protocol
	UDP        bool       `json:"udp"`
}

func vipColumns() []column {
	return []column{{name: "ADDRESS"}, {name: "BALANCER"}, {name: "BALANCER_ID", right: true}, {name: "TCP"}, {name: "UDP"}}
}

func (r vipRow) cells() []string {
	return []string{r.Address.String(), r.Balancer, countText(r.BalancerID), yesText(r.TCP), yesText(r.UDP)}
}

func (in *inspection) vip(addr netip.Addr, v dataplane.VIP) vipRow {
	row := vipRow{Address: addr, BalancerID: v.Balancer, TCP: v.TCP, UDP: v.UDP}
	for _, b := range in.Balancers {
		if slices.Contains(b.Addresses, addr) {
			row.Balancer = b.Label
		}
	}
	return row
}

func dumpVIPs(in *inspection) (listing, error) {
	vips, err := in.tables.VIPs()
	if err != nil {
		return listing{}, err
	}
	var rows []vipRow
	for _, addr := range slices.SortedFunc(maps.Keys(vips), netip.Addr.Compare) {
		rows = append(rows, in.vip(addr, vips[addr]))
	}
	return listOf(rows, vipColumns(), vipRow.cells), nil
}

func lookupVIP(key string) (func(*inspection) (listing, error), error) {
	addr, err := netip.ParseAddr(key)
	if err != nil || addr.Zone() != "" {
		return nil, badKey("vips", key, "203.0.113.10 or 2001:db8::10")
	}
	addr = addr.Unmap()
	return func(in *inspection) (listing, error) {
		v, ok, err := in.tables.LookupVIP(addr)
		return one("vips", key, ok, err, in.vip(addr, v), vipColumns(), vipRow.cells)
	}, nil
}
