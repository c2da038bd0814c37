package rotation

import "fmt"

// verifies is how OpenSSL builds a chain: from the leaf on it looks for the issuer among the anchors first, then among what
// was presented, and never goes back to try another.
func (w *tinyWorld) verifies(anchors uint8, m material) bool {
	issuer := m.issuer()
	for range 3 {
		if anchors&bit(issuer) != 0 {
			return true
		}
		next := 0
		for _, b := range m.chain() {
			if pair := bridgeIDs[b]; b != 0 && pair[0] == issuer {
				next = pair[1]
				if next > issuer && w.authorities[next-1].backEnded {
					return false
				}
				break
			}
		}
		if next == 0 {
			return false
		}
		issuer = next
	}
	return false
}

// refused names the verifier that would refuse a party, and the party, or which other promise is broken; "" if none is. It knows nothing of Next.
func (w *tinyWorld) refused() string {
	for i := range w.pods {
		p := &w.pods[i]
		if p.active == 0 {
			continue
		}
		if text := w.refusal(tinyPodNames[i], p.serves); text != "" {
			return text
		}
		if w.leftover && !w.cut && !w.verifies(bit(1), p.serves) {
			return fmt.Sprintf("hippo-old trusts {g1} and refuses %s, which serves %s", tinyPodNames[i], p.serves)
		}
	}
	if w.leftover {
		if text := w.refusal("hippo-old", newMaterial(1, 1, [2]bridgeID{}, 0)); text != "" {
			return text
		}
	}
	trusted := w.trusting()
	for i := range w.authorities {
		a := &w.authorities[i]
		switch {
		case a.made && !a.stored && !a.lost && trusted&bit(i+1) != 0:
			return fmt.Sprintf("g%d is deleted and a process still trusts it", i+1)
		case a.switched == 1 && int(w.tainted) != i+1 && w.soaking(a.retired&(bit(i+1)-1)):
			return fmt.Sprintf("g%d signs for less than the soak, and the one before is dropped already", i+1)
		case w.rolledBackToNothing(i + 1):
			return fmt.Sprintf("the re-key was reported as rolled back to g%d, and no process trusts that any more", i+1)
		}
	}
	return ""
}

// soaking reports whether any of some generations must stay trusted for the soak: one that is tainted or lost need not.
func (w *tinyWorld) soaking(generations uint8) bool {
	for i := range w.authorities {
		if generations&bit(i+1) != 0 && int(w.tainted) != i+1 && !w.authorities[i].lost {
			return true
		}
	}
	return false
}

// refusal names the verifier that refuses what a pod serves. A verifier that the operator looks after needs no bridge: there is none when an
// authority is lost or tainted. A client that copied g1, or lags behind, is led by the bridges.
func (w *tinyWorld) refusal(pod string, serves material) string {
	if w.dropped(serves.issuer()) {
		return fmt.Sprintf("%s serves %s, of an authority that was dropped", pod, serves)
	}
	for _, v := range [...]struct {
		name    string
		anchors uint8
	}{
		{"the operator", w.operator},
		{"a client that reads the ConfigMap now", w.config},
		{tinyPodNames[0], uint8(w.pods[0].trusts)},
		{tinyPodNames[1], uint8(w.pods[1].trusts)},
	} {
		if v.anchors != 0 && v.anchors&bit(serves.issuer()) == 0 {
			return fmt.Sprintf("%s trusts %s and knows nothing of g%d, which issued what %s serves: %s", v.name, generations(v.anchors), serves.issuer(), pod, serves)
		}
	}
	if w.cut {
		return ""
	}
	if !w.verifies(bit(1), serves) {
		return fmt.Sprintf("the client that copied g1 refuses %s, which serves %s", pod, serves)
	}
	if !w.verifies(w.follower, serves) {
		return fmt.Sprintf("the client that follows the ConfigMap has read %s and refuses %s, which serves %s", generations(w.follower), pod, serves)
	}
	return ""
}

// rolledBackToNothing reports whether a generation was rolled back to although the one that was rolled back had dropped it.
func (w *tinyWorld) rolledBackToNothing(g int) bool {
	for i := range w.authorities {
		a := &w.authorities[i]
		if int(a.backTo) == g && a.retired&bit(g) != 0 {
			return true
		}
	}
	return false
}

// restOfWhatFails says what a step that fails for good has kept from being done although it does not depend on it; "" when nothing.
// Bundles and pods that nothing keeps hold what is stored and not dropped.
func (w *tinyWorld) restOfWhatFails() string {
	live := uint8(0)
	for i := range w.authorities {
		if w.authorities[i].stored && !w.dropped(i+1) {
			live |= bit(i + 1)
		}
	}
	lost := w.authorities[0].lost || w.authorities[1].lost || w.authorities[2].lost
	wrong := func(anchors uint8) bool { return !lost && anchors != live }
	if w.fails.String() != "PublishTrust" && wrong(w.config) {
		return fmt.Sprintf("the ConfigMap holds %s and not %s", generations(w.config), generations(live))
	}
	if w.fails.String() != "Publish operator" && wrong(w.operator) {
		return fmt.Sprintf("the bundle of the operator holds %s and not %s", generations(w.operator), generations(live))
	}
	for i := range w.pods {
		p := &w.pods[i]
		if w.fails.String() != "Publish "+tinyParties[i] && wrong(p.published.anchors()) {
			return fmt.Sprintf("the bundle of %s holds %s and not %s", tinyParties[i], generations(p.published.anchors()), generations(live))
		}
		if w.fails.String() != "Activate "+tinyPodNames[i] && p.active != 0 && p.active != p.published && w.cutOff(i) {
			return fmt.Sprintf("%s uses %s and not %s", tinyPodNames[i], p.active, p.published)
		}
	}
	return ""
}

// cutOff reports whether what is published for a pod could be used by it: every bundle that is published accepts it.
func (w *tinyWorld) cutOff(i int) bool {
	issuer := w.pods[i].published.issuer()
	return (w.config&w.operator&w.pods[0].published.anchors()&w.pods[1].published.anchors())&bit(issuer) != 0
}

// dropped reports whether a generation is no longer to be trusted.
func (w *tinyWorld) dropped(g int) bool {
	for i := range w.authorities {
		if w.authorities[i].stored && w.authorities[i].retired&bit(g) != 0 {
			return true
		}
	}
	a := &w.authorities[g-1]
	return !a.stored && !a.lost
}

// atRest reports whether one generation is left and everything is of it.
func (w *tinyWorld) atRest() bool {
	stored, generation := 0, 0
	for i := range w.authorities {
		if w.authorities[i].stored {
			stored, generation = stored+1, i+1
		}
	}
	rest := stored == 1 && w.config == bit(generation) && w.operator == bit(generation) && w.follower == w.config && !w.leftover
	for i := range w.pods {
		p := &w.pods[i]
		rest = rest && p.published.issuer() == generation && p.published.anchors() == bit(generation) && uint8(p.trusts) == bit(generation) &&
			p.active == p.published && p.mounted == p.published && p.serves == p.published.served()
	}
	return rest
}
