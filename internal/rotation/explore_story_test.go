package rotation

import (
	"fmt"
	"slices"
	"strings"
)

// story tells the shortest way to a violation, and what the world looks like there.
func (x *exploration) story(v *violation) string {
	var path []int32
	for at := v.state; at >= 0; at = x.parents[at] {
		path = append(path, at)
	}
	slices.Reverse(path)
	var b strings.Builder
	b.WriteString("Everything is at rest on g1.\n")
	for n, at := range path[1:] {
		x.tell(&b, n+1, path[n], x.moves[at])
	}
	x.tell(&b, len(path), v.state, v.last)
	fmt.Fprintf(&b, "  => %s\n%s", v.what, x.worlds[v.state].describe())
	return b.String()
}

// tell writes one move.
func (x *exploration) tell(b *strings.Builder, n int, from int32, m move) {
	if m.event < events {
		fmt.Fprintf(b, "%3d. %s\n", n, m.event)
	}
	w := x.worlds[from]
	switch m.second {
	case 1:
		fmt.Fprintf(b, "%3d. the second operator looks, and decides: %s\n", n, x.words(w))
	case 2:
		fmt.Fprintf(b, "%3d. the second operator takes the first of its steps: %+v\n", n, x.rests[w.second.held])
	}
	if m.second == 3 {
		fmt.Fprintf(b, "%3d. the second operator ends\n", n)
	}
	next, _ := x.rules.Next(w.policy(), w.observe())
	for k := range int(m.steps) {
		note := ""
		if m.stale {
			note = ", decided before that"
		}
		fmt.Fprintf(b, "%3d. the operator: %s%s\n", n, next.Steps()[k], note)
	}
}

func (x *exploration) words(w tinyWorld) string {
	next, _ := x.rules.Next(w.policy(), w.observe())
	return fmt.Sprint(next.Steps())
}

func (w *tinyWorld) describe() string {
	var b strings.Builder
	for i := range w.authorities {
		if a := &w.authorities[i]; a.made {
			fmt.Fprintf(&b, "     g%d: %s\n", i+1, a.describe())
		}
	}
	fmt.Fprintf(&b, "     the operator trusts %s; the ConfigMap holds %s, and the client that follows it has read %s\n", generations(w.operator), generations(w.config), generations(w.follower))
	if w.leftover {
		b.WriteString("     hippo-old, on its way out: serves leaf(g1); trusts {g1}\n")
	}
	if w.fails != 0 {
		fmt.Fprintf(&b, "     %s fails; failed so far: %b\n", w.fails, w.failed)
	}
	for i := range w.pods {
		p := &w.pods[i]
		if p.active == 0 {
			fmt.Fprintf(&b, "     %s: has not started; published is %s\n", tinyPodNames[i], p.published)
			continue
		}
		fmt.Fprintf(&b, "     %s: serves %s; trusts %s\n       published %s; mounted %s; installed %s\n",
			tinyPodNames[i], p.serves, generations(uint8(p.trusts)), p.published, p.mounted, p.active)
	}
	return b.String()
}

// describe tells an authority's state and notes in words.
func (a *tinyAuthority) describe() string {
	words := []string{"discarded"}
	switch {
	case a.lost:
		words[0] = "lost"
	case a.stored:
		words[0] = "stored"
	}
	add := func(yes bool, format string, args ...any) {
		if yes {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(a.by != 0, "with a bridge from g%d", a.by)
	add(a.older != 0, "and %s", a.older)
	add(a.switched == 1, "switched to lately")
	add(a.switched == 2, "switched to longer ago than the soak")
	add(a.backTo != 0, "rolled back in favour of g%d", a.backTo)
	add(a.rolledBack != 0, "after the roll-back of g%d", a.rolledBack)
	add(a.retired != 0, "has dropped %s", generations(a.retired))
	return strings.Join(words, ", ")
}
