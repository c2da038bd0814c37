package rotation

import (
	"fmt"
	"slices"
	"strings"

	"pgtls.dev/pgtls/internal/rotation/facts"
	"pgtls.dev/pgtls/internal/rotation/plan"
)

// The commands of stories about re-keys: a round for each Secret and each pod would hide what happens.

// rekey plays rounds until there is no step, or until a step of a kind was taken.
func (s *story) rekey(until string) error {
	s.w.forgetFailures()
	others := map[string]int{}
	var waits []string
	for range 2 * s.w.roundsToRest() {
		planned, err := s.w.round(all)
		if err != nil {
			return err
		}
		if now := waitsOf(planned); !slices.Equal(now, waits) && len(planned.Steps()) == 0 {
			s.between(others)
			waits = now
			for _, line := range now {
				fmt.Fprintf(&s.out, "%s  %s\n", s.day(), line)
			}
		}
		for _, step := range planned.Steps() {
			if !slices.Contains(rekeying, step.Op()) {
				others[step.Op()]++
				continue
			}
			s.between(others)
			fmt.Fprintf(&s.out, "%s  %s\n", s.day(), stepWords(step))
			if strings.HasPrefix(stepWords(step), until+" ") {
				return nil
			}
		}
		if len(planned.Steps()) == 0 {
			s.between(others)
			fmt.Fprintf(&s.out, "%s  %s\n", s.day(), planned.State)
			return nil
		}
	}
	return fmt.Errorf("no rest")
}

func waitsOf(planned plan.Plan) (lines []string) {
	for _, b := range planned.Blockers {
		lines = append(lines, fmt.Sprintf("wait for %s: %s", b.Party, b.Reason))
	}
	return lines
}

// between tells how many Secrets were written and pods asked since the last turn.
func (s *story) between(others map[string]int) {
	if len(others) > 0 {
		fmt.Fprintf(&s.out, "%s    (%d published, %d activated, %d proven)\n", s.day(), others["Publish"]+others["PublishTrust"], others["Activate"], others["Prove"])
	}
	clear(others)
}

// authorities tells how each domain stands.
func (s *story) authorities() error {
	planned, err := Next(s.w.policy, s.w.observe())
	if err != nil {
		return err
	}
	for _, domain := range facts.Domains() {
		phase := "at rest"
		for _, r := range planned.Rekeys {
			if r.Domain == domain {
				phase = fmt.Sprintf("%s g%d -> g%d", r.Phase, r.From, r.To)
			}
		}
		fmt.Fprintf(&s.out, "%s: %s, g%d signs, trusted %v\n", domain, phase, planned.Active.Of(domain), derive(s.w.policy, s.w.observe()).Anchors(domain))
		for _, line := range s.presented(domain) {
			fmt.Fprintf(&s.out, "  %s\n", line)
		}
	}
	return nil
}

// presented are the different chains of a domain's published leaves, and how many present each.
func (s *story) presented(domain facts.Domain) []string {
	count := map[string]int{}
	for _, m := range s.w.members {
		if leaf := m.leaf(domain); leaf != nil {
			text := "leaf(" + strings.TrimSuffix(leaf.IssuerKeyID, "-key") + ")"
			for _, bridge := range leaf.Chain {
				text += " + " + bridge
			}
			count[text]++
		}
	}
	var lines []string
	for text, n := range count {
		lines = append(lines, fmt.Sprintf("%d present %s", n, text))
	}
	slices.Sort(lines)
	return lines
}
