package rotation

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/pki"
)

// The world of the exploration: the server domain of one cluster under re-key, small enough to be a key of a map. The client
// domain is at rest. What is stored, what the kubelet has delivered, what the agent has installed, what the process serves
// and what it has loaded for verifying are all separate.
//
// One pod of an instance, one of a pooler; the operator, who verifies both; who reads the clients' ConfigMap now; a client
// that follows it and may lag behind; a client that copied g1 once and looks never again; an instance that was scaled away
// and whose pod still serves a leaf of g1.

// tinyWorld is a state. It holds no pointer, and no padding, and is compared with ==.
type tinyWorld struct {
	authorities       [3]tinyAuthority // g1, g2, g3
	request, rollback uint8            // ids; 0: none
	operator          uint8            // bundle of the operator's material: a bit for each generation
	config, follower  uint8            // bundle of the clients' ConfigMap; what the client that follows it has read last
	leftover          bool
	requests, rolls   uint8 // that somebody may still ask for
	hidden            uint8 // what the operator cannot read
	zero              uint8 // where padding would be
	pods              [2]tinyPod
}

type tinyAuthority struct {
	made, stored bool
	backEnded    bool     // the bridge back to the one before has expired
	by           uint8    // who signed the bridge to it; 0: there is none
	older        bridgeID // to the one before, as that one had it
	answered     uint8
	seen         uint8
	switched     uint8 // 0: no, 1: lately, 2: longer ago than the soak
	rolledBack   uint8
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
		requests: l.requests, rolls: l.rollbacks,
		pods: [2]tinyPod{pod, pod},
	}
}

// canonical numbers serials anew, so that worlds that differ in nothing but numbers are one.
func (w tinyWorld) canonical() tinyWorld {
	for i := range w.pods {
		p := &w.pods[i]
		var numbers [4][16]uint8
		var count [4]uint8
		for _, m := range [...]*material{&p.published, &p.mounted, &p.active, &p.serves, &p.asked, &p.told, &p.provenAt, &p.proven} {
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
	w.follower, w.requests, w.rolls = 0, 0, 0
	for i := range w.pods {
		w.pods[i].mounted, w.pods[i].told, w.pods[i].serves = 0, 0, 0
	}
	return w
}

// times of the exploration stand still: what has passed is noted in the world.
var (
	tinyNow    = time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	tinyPast   = tinyNow.Add(-1000 * time.Hour)
	tinyFuture = tinyNow.Add(100000 * time.Hour)
)

const tinySoak = 24 * time.Hour

var tinyLife = CertificatePolicy{Life: 200000 * time.Hour}

func identifier(prefix string, n uint8) string {
	if n == 0 {
		return ""
	}
	return prefix + strconv.Itoa(int(n))
}

func (w *tinyWorld) policy() Policy {
	return Policy{
		Authorities: map[Domain]CertificatePolicy{Server: tinyLife, Client: tinyLife},
		Rekey:       map[Domain]RekeyPolicy{Server: {Request: identifier("rotate ", w.request), Rollback: identifier("undo ", w.rollback)}},
		RetireSoak:  tinySoak,
	}
}

var tinyPodNames = [2]string{"hippo-0", "pooler-x"}

var tinyParties = [2]string{"hippo", "pooler"}

func facts(domain Domain, g int) pki.CertificateFacts {
	name := string(domain) + " g" + strconv.Itoa(g)
	return pki.CertificateFacts{Fingerprint: name, KeyID: "key of " + name, NotBefore: tinyPast, NotAfter: tinyFuture}
}

func anchorNames(mask uint8) (names []string) {
	for g := 1; g <= 3; g++ {
		if mask&bit(g) != 0 {
			names = append(names, facts(Server, g).Fingerprint)
		}
	}
	return names
}

func tinyLeaf(domain Domain, fingerprint string, issuer int) Leaf {
	leaf := Leaf{Domain: domain}
	leaf.Fingerprint, leaf.IssuerKeyID = fingerprint, facts(domain, issuer).KeyID
	leaf.NotBefore, leaf.NotAfter = tinyPast, tinyFuture
	return leaf
}

// observe tells the operator what it may know.
func (w *tinyWorld) observe() Observed {
	o := Observed{
		Now:            tinyNow,
		Authorities:    []Authority{{Domain: Client, Generation: 1, Certificate: facts(Client, 1), Original: Store{Present: true}}},
		GenerationSeen: map[Domain]int{Server: w.highestNamed(), Client: 1},
		PublicTrust:    Trust{State: Present, Anchors: anchorNames(w.config)},
	}
	for g := 1; g <= 3; g++ {
		if a, known := w.authority(g); known {
			o.Authorities = append(o.Authorities, a)
		}
	}
	client := map[Domain][]string{Client: {facts(Client, 1).Fingerprint}}
	if w.hidden&hiddenConfig != 0 {
		o.PublicTrust = Trust{}
	}
	with := func(server uint8) map[Domain][]string {
		return map[Domain][]string{Client: client[Client], Server: anchorNames(server)}
	}
	for i := range w.pods {
		p := &w.pods[i]
		leaf := tinyLeaf(Server, p.published.fingerprint(), p.published.issuer())
		for _, b := range p.published.chain() {
			if b != 0 {
				leaf.Chain = append(leaf.Chain, b.String())
			}
		}
		pod := Pod{Name: tinyPodNames[i], Primary: i == 0, Report: &Report{
			Active: p.active.revision(), ActiveUntil: tinyFuture, Loaded: with(uint8(p.trusts)),
		}}
		if p.asked != 0 {
			pod.Asked = p.asked.revision()
		}
		if p.provenAt != 0 {
			pod.Proofs = []Proof{{Port: "postgres", Fingerprint: p.proven.fingerprint(), Revision: p.provenAt.revision()}}
		}
		party := Party{
			Name: tinyParties[i], Kind: [2]Kind{Instance, Pooler}[i], Pods: []Pod{pod},
			Wants:    []LeafWant{{Domain: Server, CertificatePolicy: tinyLife}},
			Material: Material{State: Present, Revision: p.published.revision(), Leaves: []Leaf{leaf}, Anchors: with(p.published.anchors())},
		}
		if p.active == 0 {
			party.Pods = nil // it has not started
		}
		if i == 0 && w.hidden&hiddenMaterial != 0 {
			party.Material = Material{}
		}
		o.Parties = append(o.Parties, party)
	}
	o.Parties = append(o.Parties, Party{
		Name: "operator", Kind: Operator, Wants: []LeafWant{{Domain: Client, CertificatePolicy: tinyLife}},
		Material: Material{
			State: Present, Revision: "of the operator",
			Leaves: []Leaf{tinyLeaf(Client, "leaf of the operator", 1)}, Anchors: with(w.operator),
		},
	})
	if w.leftover {
		o.Leftovers = []Leftover{{Party: "hippo-old", Domain: Server, IssuerKeyID: facts(Server, 1).KeyID}}
	}
	return o
}

// highestNamed is the highest generation that any material names.
func (w *tinyWorld) highestNamed() (highest int) {
	named := w.operator | w.pods[0].published.anchors() | w.pods[1].published.anchors()
	for g := 1; g <= 3; g++ {
		if named&bit(g) != 0 {
			highest = g
		}
	}
	return highest
}

// authority is a generation as the operator sees it. One whose Secret is gone is known as long as a leaf of it is in use.
func (w *tinyWorld) authority(g int) (Authority, bool) {
	t := &w.authorities[g-1]
	a := Authority{Domain: Server, Generation: g, Certificate: facts(Server, g)}
	if !t.stored {
		a.Problem = AuthorityLost
		named := w.operator | w.pods[0].published.anchors() | w.pods[1].published.anchors()
		used := w.pods[0].published.issuer() == g || w.pods[1].published.issuer() == g
		return a, t.made && named&bit(g) != 0 && used
	}
	a.Original = Store{Present: true}
	if t.by != 0 {
		a.Forward = tinyBridge(bridgeOf(g, int(t.by)), tinyPast, tinyFuture)
		a.Backward = tinyBridge(bridgeOf(int(t.by), g), tinyNow, tinyNow.Add(24*time.Hour))
		if t.backEnded {
			a.Backward.NotBefore, a.Backward.NotAfter = tinyNow.Add(-24*time.Hour), tinyNow
		}
	}
	if t.older != 0 {
		a.Older = tinyBridge(t.older, tinyPast, tinyFuture)
	}
	a.Answered, a.RollbackSeen = identifier("rotate ", t.answered), identifier("undo ", t.seen)
	a.RolledBack = int(t.rolledBack)
	switch t.switched {
	case 1:
		a.SwitchedAt = tinyNow
	case 2:
		a.SwitchedAt = tinyNow.Add(-tinySoak)
	}
	for r := 1; r <= 3; r++ {
		if t.retired&bit(r) != 0 {
			a.Retired = append(a.Retired, r)
		}
	}
	return a, true
}

func tinyBridge(b bridgeID, from, until time.Time) Bridge {
	pair := bridgeIDs[b]
	return Bridge{Fingerprint: b.String(), KeyID: facts(Server, pair[0]).KeyID, IssuerKeyID: facts(Server, pair[1]).KeyID, NotBefore: from, NotAfter: until}
}

// take executes a step of a plan that was made on the observation before; a broken promise of the step itself is returned.
func (w *tinyWorld) take(step Step, plan *tinyPlan) (broken string) {
	a := func(g int) *tinyAuthority { return &w.authorities[g-1] }
	switch step.Op {
	case TrustNew:
		if step.Generation > len(w.authorities) {
			return fmt.Sprintf("g%d is made and nobody asked for it", step.Generation)
		}
		n := a(step.Generation)
		if n.stored {
			return "" // create fails
		}
		if n.made {
			return fmt.Sprintf("there are two keys of g%d", step.Generation)
		}
		*n = tinyAuthority{made: true, stored: true, answered: w.request, seen: w.rollback}
		if step.Bridged {
			n.by = uint8(plan.signer)
			n.older = bridgeOf(plan.signer, int(a(plan.signer).by))
		}
	case SwitchSigner:
		a(step.Generation).switched = 1
	case RollBack:
		a(step.Signer).rolledBack, a(step.Signer).answered, a(step.Signer).seen = uint8(step.Generation), a(step.Generation).answered, w.rollback
	case DropOld:
		a(step.Signer).retired |= bit(step.Generation)
	case DiscardAuthority:
		*a(step.Generation) = tinyAuthority{made: true}
	case PublishTrust:
		w.config = plan.anchors
	case Publish:
		w.publish(step, plan)
	case Activate:
		p := w.pod(step.Pod)
		p.asked = p.published
		if step.Revision != "" {
			revision, _ := strconv.ParseUint(step.Revision, 16, 16)
			p.asked = material(revision)
		}
	case Prove:
		p := w.pod(step.Pod)
		p.provenAt, p.proven = p.active, p.serves.leaf()
	default:
		return "nobody knows how to take step " + step.String()
	}
	return ""
}

func (w *tinyWorld) pod(name string) *tinyPod {
	if name == tinyPodNames[0] {
		return &w.pods[0]
	}
	return &w.pods[1]
}

func (w *tinyWorld) publish(step Step, plan *tinyPlan) {
	if step.Party == "operator" {
		w.operator = plan.anchors
		return
	}
	p := &w.pods[0]
	if step.Party == tinyParties[1] {
		p = &w.pods[1]
	}
	issuer, serial := p.published.issuer(), p.published.serial()
	if len(step.Reissue) > 0 {
		issuer, serial = plan.signer, 15 // until canonical numbers it
	}
	p.published = newMaterial(issuer, serial, plan.chains[issuer], plan.anchors)
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
	asksForRekey
	asksForRollback
	events // how many there are
)

func (e event) String() string {
	if e < 2*podEvents {
		return fmt.Sprintf([...]string{
			"the kubelet delivers the files to %s", "the kubelet delivers the annotation to %s", "the agent of %s installs what is delivered",
			"the process of %s reloads its leaf", "the process of %s reloads its bundle", "the operator forgets what it saw of %s", "%s ends, or starts anew",
		}[e%podEvents], tinyPodNames[e/podEvents])
	}
	return [...]string{
		"the client that follows the ConfigMap reads it", "the pod of the instance that was scaled away ends",
		"a day passes", "the operator can read the ConfigMap no more, or again", "the operator can read the material of hippo no more, or again",
		"somebody asks for a re-key", "somebody asks for a roll-back",
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
			a.backEnded = a.stored && a.by != 0
			if a.switched == 1 {
				a.switched = 2
			}
		}
	case hidesConfig:
		w.hidden ^= hiddenConfig & l.hides
	case hidesMaterial:
		w.hidden ^= hiddenMaterial & l.hides
	case asksForRekey:
		if w.requests > 0 {
			w.requests--
			w.request++
		}
	case asksForRollback:
		if w.rolls > 0 {
			w.rolls--
			w.rollback++
		}
	}
	return w, w != was
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

// refused tells who would refuse whom, or which other promise is broken; "" if none is. It knows nothing of Next.
func (w *tinyWorld) refused() string {
	old := newMaterial(1, 1, [2]bridgeID{}, 0)
	trusted := w.operator | w.config
	for i := range w.pods {
		p := &w.pods[i]
		trusted |= p.published.anchors() | uint8(p.trusts)
		if p.active == 0 {
			continue
		}
		if text := w.refusal(tinyPodNames[i], p.serves); text != "" {
			return text
		}
		if w.leftover && !w.verifies(bit(1), p.serves) {
			return fmt.Sprintf("hippo-old trusts {g1} and refuses %s, which serves %s", tinyPodNames[i], p.serves)
		}
	}
	if w.leftover {
		if text := w.refusal("hippo-old", old); text != "" {
			return text
		}
	}
	for i := range w.authorities {
		a := &w.authorities[i]
		switch {
		case a.made && !a.stored && trusted&bit(i+1) != 0:
			return fmt.Sprintf("g%d is deleted and somebody still trusts it", i+1)
		case a.switched == 1 && a.retired&(bit(i+1)-1) != 0:
			return fmt.Sprintf("g%d signs for less than the soak, and the one before is dropped already", i+1)
		case w.rolledBackToNothing(i + 1):
			return fmt.Sprintf("somebody was told that the re-key was rolled back to g%d, and nobody trusts that any more", i+1)
		}
	}
	return ""
}

// refusal tells who refuses what a pod serves. Whoever the operator looks after needs no bridge: there is none when an
// authority is lost or tainted. Who copied g1, or lags behind, is led by the bridges.
func (w *tinyWorld) refusal(pod string, serves material) string {
	if w.dropped(serves.issuer()) {
		return fmt.Sprintf("%s serves %s, of an authority that was dropped", pod, serves)
	}
	for _, v := range [...]struct {
		name    string
		anchors uint8
	}{
		{"the operator", w.operator},
		{"who reads the ConfigMap now", w.config},
		{tinyPodNames[0], uint8(w.pods[0].trusts)},
		{tinyPodNames[1], uint8(w.pods[1].trusts)},
	} {
		if v.anchors != 0 && v.anchors&bit(serves.issuer()) == 0 {
			return fmt.Sprintf("%s trusts %s and knows nothing of g%d, which issued what %s serves: %s", v.name, generations(v.anchors), serves.issuer(), pod, serves)
		}
	}
	if !w.verifies(bit(1), serves) {
		return fmt.Sprintf("the client that copied g1 refuses %s, which serves %s", pod, serves)
	}
	if !w.verifies(w.follower, serves) {
		return fmt.Sprintf("the client that follows the ConfigMap has read %s and refuses %s, which serves %s", generations(w.follower), pod, serves)
	}
	return ""
}

// rolledBackToNothing reports whether a generation was rolled back to although one that was withdrawn had dropped it.
func (w *tinyWorld) rolledBackToNothing(g int) bool {
	for i := g; i < int(w.authorities[g-1].rolledBack); i++ {
		if w.authorities[i].retired&bit(g) != 0 {
			return true
		}
	}
	return false
}

// dropped reports whether a generation is no longer to be trusted.
func (w *tinyWorld) dropped(g int) bool {
	for i := range w.authorities {
		if w.authorities[i].stored && w.authorities[i].retired&bit(g) != 0 {
			return true
		}
	}
	return !w.authorities[g-1].stored
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
