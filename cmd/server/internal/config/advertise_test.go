package config

import (
	"net"
	"os"
	"testing"
)

func TestTheAddressForOtherServers(t *testing.T) {
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	at := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 8013} }
	for _, tc := range []struct {
		name, advertise string
		addr            net.Addr
		want            string
	}{
		{"an address", "", at("127.0.0.1"), "http://127.0.0.1:8013"},
		{"an IPv6 address", "", at("::1"), "http://[::1]:8013"},
		{"all addresses", "", at("0.0.0.0"), "http://" + machine + ":8013"},
		{"all IPv6 addresses", "", at("::"), "http://" + machine + ":8013"},
		{"as configured", "https://flags.example/north/", at("127.0.0.1"), "https://flags.example/north"},
	} {
		c := Config{Advertise: tc.advertise}
		if got, err := c.AdvertiseURL(tc.addr); err != nil || got != tc.want {
			t.Errorf("%s: %s, %v; want %s", tc.name, got, err, tc.want)
		}
	}
}
