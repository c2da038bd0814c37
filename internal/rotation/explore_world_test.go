package rotation

import (
	"fmt"
	"strconv"
	"strings"
)

// The world of the exploration: the server domain of one cluster under re-key, small enough to be a key of a map. The client
// domain is at rest. What is stored, what the kubelet has delivered, what the agent has installed, what the process serves
// and what it has loaded for verifying are all separate.
//
// In some chapters a second operator, which was cut off, holds a plan that it made on an earlier state, and takes its steps one by
// one at any later time; in others a step begins to fail for good.
//
// One pod of an instance, one of a pooler; the operator, which verifies both; a client that reads the ConfigMap now; a client
// that follows it and may lag behind; a client that copied g1 once and looks never again; an instance that was scaled away
// and whose pod still serves a leaf of g1.
//
// Bridges lead the last three, as long as there are any: none is made to an authority that was tainted or is lost, and
// those that a lost Secret held are lost with it. From then on the world is cut, and only a verifier that holds the operator's
// bundles must be accepted.

// tinyWorld is a state. It holds no pointer, and no padding, and is compared with ==.
type tinyWorld struct {
	failed            uint32 // keys of the steps that failed: a bit for each
	second            tinySecond
	pods              [2]tinyPod
	authorities       [3]tinyAuthority // g1, g2, g3
	request, rollback uint8            // ids; 0: none
	operator          uint8            // bundle of the operator's material: a bit for each generation
	config, follower  uint8            // bundle of the clients' ConfigMap; what the client that follows it has read last
	leftover          bool
	tainted           uint8       // generation; 0: none
	cut               bool        // the bridges do not lead from g1 to every leaf any more
	requests, rolls   uint8       // that the user may still ask for
	losses, taints    uint8       // that may still happen
	hidden            uint8       // what the operator cannot read
	looks             uint8       // how often the second operator may still look
	fails             tinyFailing // kind of step that fails, for one object, from now on
	breaks            bool        // some kind of step may still begin to fail
}

// tinySecond is another operator: what it holds of a plan that it made long ago.
type tinySecond struct {
	held  uint16      // number of the rest of its plan in the exploration; 0: none
	stale uint16      // objects that changed since it looked: a bit for each
	asks  [2]material // revisions that it is about to ask pods to activate
}

type tinyAuthority struct {
	made, stored bool
	lost         bool     // its Secret was deleted, and the finalizer too
	backEnded    bool     // the bridge back to the one before has expired
	by           uint8    // the signer of the bridge to it; 0: there is none
	older        bridgeID // to the one before, as that one had it
	answered     uint8
	seen         uint8
	switched     uint8 // 0: no, 1: lately, 2: longer ago than the soak
	backTo       uint8 // generation in favour of which it was rolled back; 0: it was not
	rolledBack   uint8 // the last one that was rolled back in its favour and dropped
	retired      uint8 // a bit for each generation
}

type tinyPod struct {
	published, mounted material // the Secret; what the kubelet has delivered
	asked, told        material // the annotation's revision; as delivered
	active             material // what the agent says it has installed
	serves             material // leaf and chain of the process
	provenAt           material // what was active when the operator looked
	proven             material // the leaf that it saw
	trusts             uint16   // what the process verifies with: a bit for each generation
}

// What may be hidden from the operator for a while.
const (
	hiddenConfig   uint8 = 1 << iota
	hiddenMaterial       // of the instance
	hiddenReport         // of the instance's agent
)

// material is what a material Secret holds, and stands for its revision: issuer and serial of the leaf, two bridges, the
// bundle. 0: none.
type material uint16

func newMaterial(issuer, serial int, chain [2]bridgeID, anchors uint8) material {
	return material(issuer | serial<<2 | int(chain[0])<<6 | int(chain[1])<<9 | int(anchors)<<12)
}

func (m material) issuer() int         { return int(m & 3) }
func (m material) serial() int         { return int(m >> 2 & 15) }
func (m material) leaf() material      { return m & 63 }
func (m material) chain() [2]bridgeID  { return [2]bridgeID{bridgeID(m >> 6 & 7), bridgeID(m >> 9 & 7)} }
func (m material) anchors() uint8      { return uint8(m >> 12) }
func (m material) served() material    { return m & 0xfff } // leaf and chain
func (m material) revision() string    { return strconv.FormatUint(uint64(m), 16) }
func (m material) fingerprint() string { return "leaf " + m.leaf().revision() }

func (m material) String() string {
	if m == 0 {
		return "nothing"
	}
	text := fmt.Sprintf("leaf(g%d)#%d", m.issuer(), m.serial())
	for _, b := range m.chain() {
		if b != 0 {
			text += " + " + b.String()
		}
	}
	if m.anchors() != 0 {
		text += ", bundle " + generations(m.anchors())
	}
	return text
}

func generations(mask uint8) string {
	var names []string
	for g := 3; g > 0; g-- {
		if mask&bit(g) != 0 {
			names = append(names, "g"+strconv.Itoa(g))
		}
	}
	return "{" + strings.Join(names, " ") + "}"
}

func bit(generation int) uint8 { return 1 << (generation - 1) }

// bridgeID names a cross-certificate by the generation that it is about and the one that signed it.
type bridgeID uint8

var bridgeIDs = [...][2]int{{}, {2, 1}, {3, 2}, {3, 1}, {1, 2}, {2, 3}, {1, 3}}

func bridgeOf(about, by int) bridgeID {
	for i, pair := range bridgeIDs {
		if pair == [2]int{about, by} {
			return bridgeID(i)
		}
	}
	return 0
}

func (b bridgeID) String() string { return fmt.Sprintf("g%d by g%d", bridgeIDs[b][0], bridgeIDs[b][1]) }

func bridgeNamed(fingerprint string) bridgeID {
	for i := range bridgeIDs {
		if i > 0 && bridgeID(i).String() == fingerprint {
			return bridgeID(i)
		}
	}
	return 0
}

// firstWorld is at rest on g1.
func firstWorld(l limits) tinyWorld {
	m := newMaterial(1, 1, [2]bridgeID{}, bit(1))
	pod := tinyPod{published: m, mounted: m, active: m, serves: m.served(), provenAt: m, proven: m.leaf(), trusts: uint16(bit(1))}
	return tinyWorld{
		authorities: [3]tinyAuthority{{made: true, stored: true}},
		operator:    bit(1), config: bit(1), follower: bit(1), leftover: l.leftover,
		requests: l.requests, rolls: l.rollbacks, losses: l.losses, taints: l.taints, looks: l.looks, breaks: l.fails,
		pods: [2]tinyPod{pod, pod},
	}
}

// canonical numbers serials anew, so that worlds that differ in nothing but numbers are one.
func (w tinyWorld) canonical() tinyWorld {
	for i := range w.pods {
		p := &w.pods[i]
		var numbers [4][16]uint8
		var count [4]uint8
		for _, m := range [...]*material{&p.published, &p.mounted, &p.active, &p.serves, &p.asked, &p.told, &p.provenAt, &p.proven, &w.second.asks[i]} {
			if *m == 0 {
				continue
			}
			number := &numbers[m.issuer()][m.serial()]
			if *number == 0 {
				count[m.issuer()]++
				*number = count[m.issuer()]
			}
			*m = *m&^(15<<2) | material(*number)<<2
		}
	}
	return w
}

// seen is what the operator can know: worlds with one seen world get one plan.
func (w tinyWorld) seen() tinyWorld {
	w.follower, w.cut = 0, false
	w.requests, w.rolls, w.losses, w.taints = 0, 0, 0, 0
	w.second, w.looks, w.fails, w.breaks = tinySecond{}, 0, 0, false
	for i := range w.authorities {
		w.authorities[i].lost = false
	}
	for i := range w.pods {
		p := &w.pods[i]
		p.serves = 0
		p.told = 0
		if p.mounted == p.active {
			p.mounted = 0
		}
	}
	return w
}

// event is something that happens without the operator.
type event uint8

// The events: those of the first pod, those of the second, and those of the whole world.
const (
	delivers event = iota
	tells
	installs
	reloads
	loads
	forgets
	stops     // or starts again
	podEvents // how many there are
)

const (
	refreshes event = 2*podEvents + iota
	leftoverEnds
	timePasses
	hidesConfig   // or shows it again
	hidesMaterial // or shows it again
	hidesReport   // or shows it again
	asksForRekey  // what does not happen any more in a world that is left alone begins here
	asksForRollback
	losesG1
	losesG2
	losesG3
	taintsG1
	taintsG2
	taintsG3
	failsFirst                                        // the kinds of steps that fail from then on
	events     = failsFirst + event(tinyFailings) - 1 // how many there are
)

func (e event) String() string {
	if e >= failsFirst {
		return "from now on this fails: " + tinyFailing(e-failsFirst+1).String()
	}
	if e < 2*podEvents {
		return fmt.Sprintf([...]string{
			"the kubelet delivers the files to %s", "the kubelet delivers the annotation to %s", "the agent of %s installs what is delivered",
			"the process of %s reloads its leaf", "the process of %s reloads its bundle", "the operator forgets what it saw of %s", "%s ends, or starts anew",
		}[e%podEvents], tinyPodNames[e/podEvents])
	}
	return [...]string{
		"the client that follows the ConfigMap reads it", "the pod of the instance that was scaled away ends",
		"a day passes", "the operator can read the ConfigMap no more, or again", "the operator can read the material of hippo no more, or again",
		"the agent of hippo-0 gives no report, or gives one again",
		"the user asks for a re-key", "the user asks for a roll-back",
		"both Secrets of g1 are deleted and no operator remembers it", "both Secrets of g2 are deleted and no operator remembers it", "both Secrets of g3 are deleted and no operator remembers it",
		"the user taints g1", "the user taints g2", "the user taints g3",
	}[e-2*podEvents]
}

// happens returns the world after an event, and whether it can happen.
func (w tinyWorld) happens(e event, l *limits) (tinyWorld, bool) {
	was := w
	if e < 2*podEvents {
		w.pods[e/podEvents].happens(e%podEvents, l)
		return w, w != was
	}
	switch e {
	case refreshes:
		w.follower = w.config
	case leftoverEnds:
		w.leftover = false
	case timePasses:
		for i := range w.authorities {
			a := &w.authorities[i]
			a.backEnded = a.backEnded || a.stored && a.by != 0
			if a.switched == 1 {
				a.switched = 2
			}
		}
	case hidesConfig:
		w.hidden ^= hiddenConfig & l.hides
	case hidesMaterial:
		w.hidden ^= hiddenMaterial & l.hides
	case hidesReport:
		w.hidden ^= hiddenReport & l.hides
	default:
		w.fromOutside(e)
	}
	return w, w != was
}

// fromOutside does what a cluster that is left alone is spared.
func (w *tinyWorld) fromOutside(e event) {
	switch {
	case e == asksForRekey && w.requests > 0:
		w.requests--
		w.request++
	case e == asksForRollback && w.rolls > 0:
		w.rolls--
		w.rollback++
	case e >= losesG1 && e <= losesG3 && w.losses > 0 && w.authorities[e-losesG1].stored:
		a := &w.authorities[e-losesG1]
		w.losses--
		w.cut = w.cut || a.by != 0
		*a = tinyAuthority{made: true, lost: true, backEnded: a.backEnded}
		w.changed(objectG1 << (e - losesG1))
	case e >= taintsG1 && e <= taintsG3 && w.taints > 0 && w.authorities[e-taintsG1].stored:
		w.taints--
		w.tainted = uint8(e-taintsG1) + 1
		w.cut = true
	case e >= failsFirst && w.breaks:
		w.breaks, w.fails = false, tinyFailing(e-failsFirst)+1
	}
}

func (p *tinyPod) happens(e event, l *limits) {
	if p.active == 0 && e != stops {
		return // it has not started
	}
	switch e {
	case delivers:
		p.mounted = p.published
		if !l.twoVolumes {
			p.told = p.asked
		}
	case tells:
		p.told = p.asked
	case installs:
		if p.told == p.mounted {
			p.active = p.mounted
		}
	case reloads:
		p.serves = p.active.served()
		if !l.twoReloads {
			p.trusts = uint16(p.active.anchors())
		}
	case loads:
		p.trusts = uint16(p.active.anchors())
	case forgets:
		p.provenAt, p.proven = 0, 0
	case stops:
		switch {
		case !l.stops:
		case p.active != 0:
			*p = tinyPod{published: p.published}
		default:
			p.mounted, p.active, p.serves, p.trusts = p.published, p.published, p.published.served(), uint16(p.published.anchors())
		}
	}
}
