package rotation

// guard is a condition that a re-key waits for. Each has a name, so that the exploration in the tests can take one away and
// show who would be refused without it.
type guard string

// The guards.
const (
	guardNone            guard = ""
	guardSwitched        guard = "a new authority signs only once it was switched to"
	guardClientsTrust    guard = "SwitchSigner: the clients' ConfigMap holds the new authority"
	guardMaterialTrusts  guard = "SwitchSigner: all material holds the new authority"
	guardPodTrusts       guard = "SwitchSigner: every pod has loaded the new authority"
	guardFollowers       guard = "SwitchSigner: clients had the time to follow where nothing vouches for the new authority"
	guardReissued        guard = "DropOld: every published leaf is the signer's"
	guardSettled         guard = "DropOld: every pod is settled"
	guardLeftovers       guard = "DropOld: no pod on its way out uses the old authority"
	guardSessions        guard = "DropOld: no session came in with a certificate of the old authority"
	guardLedger          guard = "DropOld: no application holds a certificate of the old authority"
	guardSoaked          guard = "DropOld: the soak is over"
	guardClientsForget   guard = "DiscardAuthority: the clients' ConfigMap does not hold it"
	guardMaterialForget  guard = "DiscardAuthority: no material holds it"
	guardPodForgets      guard = "DiscardAuthority: no pod has loaded it"
	guardTrusted         guard = "RollBack: the old authority is still trusted"
	guardAnchorClients   guard = "a custom certificate is presented: the clients' ConfigMap holds its anchor"
	guardAnchorMaterial  guard = "a custom certificate is presented: all material holds its anchor"
	guardAnchorPod       guard = "a custom certificate is presented: every pod has loaded its anchor"
	guardAnchorFollowed  guard = "a custom certificate is presented: clients had the time to take its anchor"
	guardAnchorPublished guard = "DropAnchor: nothing that is published needs it"
	guardAnchorSettled   guard = "DropAnchor: every pod is settled"
	guardAnchorSessions  guard = "DropAnchor: no session came in with a certificate that it vouches for"
	guardBridge          guard = "leaves are served with the bridge from the authority before"
	guardSecondBridge    guard = "leaves are served with the bridge from the authority before that"
)

// holds reports whether a guard's condition is met. The one that a test took away always is.
func (d *decision) holds(g guard, condition bool) bool {
	return condition || d.removed != guardNone && g == d.removed
}
