package main

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/output"
	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func newStatus(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the server, its store and the namespace are",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.status(cmd.Context())
		},
	}
}

// statusJSON is the result for programs.
type statusJSON struct {
	Server      string       `json:"server"`
	Version     string       `json:"version"`
	StartedAt   *time.Time   `json:"startedAt,omitempty"`
	Store       storeJSON    `json:"store"`
	Namespace   string       `json:"namespace"`
	Position    positionJSON `json:"position"`
	Flags       uint32       `json:"flags"`
	Level       string       `json:"level"`
	Overrides   uint32       `json:"overrides"`
	Streams     uint32       `json:"streams"`
	Warnings    []string     `json:"warnings"`
	Description string       `json:"description,omitempty"`
	Bucketing   string       `json:"bucketing"`
}

type storeJSON struct {
	Kind string `json:"kind"`
	// ConfirmedAge is in seconds.
	ConfirmedAge float64 `json:"confirmedAge"`
	ReadOnly     bool    `json:"readOnly"`
	Bytes        int64   `json:"bytes"`
}

type positionJSON struct {
	StoreID  string `json:"storeId"`
	Epoch    uint64 `json:"epoch"`
	Revision int64  `json:"revision"`
}

func (c *cli) status(ctx context.Context) error {
	if err := c.connect(); err != nil {
		return err
	}
	res, err := c.client.Admin.GetStatus(ctx, connect.NewRequest(&plimsollv1.GetStatusRequest{Namespace: c.namespace()}))
	if err != nil {
		return c.failed("status", err)
	}
	s := res.Msg
	out := statusJSON{
		Server: c.client.Server(), Version: s.GetVersion(), StartedAt: instant(s.GetStartedAt()),
		Store:     storeJSON{s.GetStoreKind(), s.GetConfirmedAge().AsDuration().Seconds(), s.GetReadOnly(), s.GetStoreBytes()},
		Namespace: s.GetNamespace().GetName(), Position: positionOf(s.GetPosition()), Flags: s.GetNamespace().GetFlagCount(),
		Level: degrade.Level(s.GetLevelMillionths()).String(), Overrides: s.GetOverrideCount(), Streams: s.GetStreams(),
		Warnings: append([]string{}, s.GetWarnings()...), Description: s.GetNamespace().GetSettings().GetDescription(),
		Bucketing: bucketingText(s.GetNamespace().GetSettings().GetBucketing()),
	}
	if !c.print.People() {
		return c.print.Value(out)
	}
	c.printStatus(&out)
	return nil
}

func positionOf(p *plimsollv1.Position) positionJSON {
	return positionJSON{p.GetStoreId(), p.GetEpoch(), p.GetRevision()}
}

func (c *cli) printStatus(s *statusJSON) {
	store := fmt.Sprintf("%s, confirmed %.1f s ago", output.Clean(s.Store.Kind), s.Store.ConfirmedAge)
	if s.Store.Bytes > 0 {
		store += ", " + sizeText(s.Store.Bytes)
	}
	if s.Store.ReadOnly {
		store += output.Bad(", READ-ONLY")
	}
	up := ""
	if s.StartedAt != nil {
		up = ", up " + output.Age(*s.StartedAt, c.now())
	}
	level := s.Level
	if level == "0" {
		level += output.Faint(" (nothing is shed)")
	} else {
		level = output.Warn(level)
	}
	overrides := fmt.Sprint(s.Overrides)
	if s.Overrides > 0 {
		overrides = output.Warn(overrides)
	}
	c.print.Fields([][2]string{
		{"server", output.Bold(output.Clean(s.Server)) + ", version " + output.Clean(s.Version) + up},
		{"store", store},
		{"namespace", output.Clean(s.Namespace) + ", " + output.Count(int(s.Flags), "flag")},
		{"position", fmt.Sprintf("revision %d, epoch %d, store %s", s.Position.Revision, s.Position.Epoch, output.Clean(s.Position.StoreID))},
		{"level", level},
		{"overrides", overrides},
		{"streams", fmt.Sprint(s.Streams)},
	})
	for _, w := range s.Warnings {
		c.print.Printf("%s %s\n", output.Warn("warning:"), output.Clean(w))
	}
}

// sizeText is a number of bytes in the unit that people would use.
func sizeText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	size, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB"}
	i := -1
	for size >= unit && i < len(units)-1 {
		size /= unit
		i++
	}
	return fmt.Sprintf("%.1f %s", size, units[i])
}
