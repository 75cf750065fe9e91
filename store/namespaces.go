package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// CreateNamespace creates an empty namespace with the default tiers and a seed
// of its own. If one of that name was deleted before, its audit log goes on.
func (s *Store) CreateNamespace(ctx context.Context, name string, settings *plimsollv1.Settings, c Change) (Result, error) {
	if err := CheckNamespace(name); err != nil {
		return Result{}, &RefusedError{Message: err.Error()}
	}
	c, err := c.normalize("namespace.create")
	if err != nil {
		return Result{}, err
	}
	if err := s.writable(); err != nil {
		return Result{}, err
	}
	unlock, err := s.writers.lock(ctx, name)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	r := race{began: time.Now()}
	for {
		view := *s.view.Load()
		if view[name] != nil {
			return Result{}, &ExistsError{Kind: "namespace", Name: name}
		}
		if err := checkAliases(view, name, settings.GetAliases()); err != nil {
			return Result{}, err
		}
		if len(view) >= s.limits.Namespaces {
			return Result{}, &LimitError{Message: fmt.Sprintf("there are %d namespaces; that is the limit", len(view))}
		}
		rev, mark, won, err := s.tryCreateNamespace(ctx, name, settings, c)
		if err != nil {
			return Result{}, err
		}
		s.await(ctx, func(view map[string]*Snapshot) bool { return view[name] != nil && view[name].Revision() >= rev })
		if won {
			id := s.identity.Load()
			pos := &plimsollv1.Position{StoreId: id.GetId(), Epoch: id.GetEpoch(), Revision: rev, Fingerprint: mark}
			return Result{ChangeID: c.ID, Position: pos, Changed: true}, nil
		}
		if !r.again(ctx) {
			return Result{}, r.overtaken(name, c)
		}
	}
}

func (s *Store) tryCreateNamespace(ctx context.Context, name string, settings *plimsollv1.Settings, c Change) (rev int64, fingerprint uint64, won bool, err error) {
	last, err := s.lastRecord(ctx, name)
	if err != nil {
		return 0, 0, false, err
	}
	t, err := s.namespaceTxn(name, settings)
	if err != nil {
		return 0, 0, false, err
	}
	t.prev = &plimsollv1.StoredHead{AuditSeq: last.GetSeq(), AuditHash: last.GetHash()}
	rev, won, err = s.execute(ctx, name, c, t)
	return rev, t.fingerprint, won, err
}

// namespaceTxn is what a new namespace consists of.
func (s *Store) namespaceTxn(name string, settings *plimsollv1.Settings) (*txn, error) {
	if settings == nil {
		settings = &plimsollv1.Settings{}
	}
	plan := &plimsollv1.StoredPlan{}
	for _, tier := range degrade.DefaultTiers() {
		plan.Tiers = append(plan.Tiers, &plimsollv1.Tier{Name: tier})
	}
	now := timestamppb.New(s.now())
	objects := []struct {
		name string
		msg  proto.Message
	}{
		{objSettings, &plimsollv1.StoredSettings{Settings: settings, CreatedAt: now}},
		{objPlan, plan},
		{objLevel, &plimsollv1.StoredLevel{Seed: randomHex(8), ZeroSince: now, SeedFresh: true}},
	}
	t := &txn{before: make([]Object, len(objects))}
	for _, o := range objects {
		value, err := proto.Marshal(o.msg)
		if err != nil {
			return nil, fmt.Errorf("encode %s of namespace %s: %w", o.name, name, err)
		}
		t.writes = append(t.writes, write{o.name, present(value)})
	}
	return t, nil
}

// DeleteNamespace removes an empty namespace. Its audit log stays.
func (s *Store) DeleteNamespace(ctx context.Context, name string, c Change) (Result, error) {
	if name == DefaultNamespace {
		return Result{}, refusef("namespace %q cannot be deleted: requests that name none are served from it", name)
	}
	c, err := c.normalize("namespace.delete")
	if err != nil {
		return Result{}, err
	}
	return s.commit(ctx, name, c, func(snap *Snapshot) (*txn, error) {
		t := &txn{last: true}
		held := make(map[string]int)
		for o := range snap.Objects() {
			switch o.Name {
			case objSettings, objPlan, objSetMeta, objLevel:
				t.writes = append(t.writes, write{o.Name, nil})
			default:
				kind, _, _ := strings.Cut(o.Name, "/")
				held[kind]++
			}
		}
		var holds []string
		for _, kind := range slices.Sorted(maps.Keys(held)) {
			holds = append(holds, fmt.Sprintf("%d %s", held[kind], kind))
		}
		if len(holds) > 0 {
			return nil, refuseNowf("namespace %q is not empty: it holds %s; delete these first", name, strings.Join(holds, ", "))
		}
		return t, nil
	})
}

// NamespaceOf is the name of the namespace that has a name or an alias; "" if
// none does.
func (s *Store) NamespaceOf(nameOrAlias string) string {
	view := *s.view.Load()
	if view[nameOrAlias] != nil {
		return nameOrAlias
	}
	return aliased(view, nameOrAlias)
}

// aliased is the namespace that has an alias: the first by name, should two
// servers have let in two at once.
func aliased(view map[string]*Snapshot, alias string) string {
	found := ""
	for name, snap := range view {
		if slices.Contains(snap.aliases, alias) && (found == "" || name < found) {
			found = name
		}
	}
	return found
}

// checkAliases refuses what would make a name mean two namespaces.
func checkAliases(view map[string]*Snapshot, name string, aliases []string) error {
	if owner := aliased(view, name); owner != "" {
		return refusef("%q is an alias of namespace %q", name, owner)
	}
	for _, alias := range aliases {
		owner := aliased(view, alias)
		switch {
		case alias == name || view[alias] != nil:
			return refusef("the alias %q is the name of a namespace", alias)
		case owner != "":
			return refusef("%q is an alias of namespace %q already", alias, owner)
		}
	}
	return nil
}
