package cluster

import (
	"context"

	"pgtls.dev/pgtls/internal/desired"
)

// keepUserSecrets gives each user a Secret with connection facts and a password, keeps what is good in it, and
// deletes the Secrets of users that the spec names no more. Their roles stay in the database.
func keepUserSecrets(ctx context.Context, r *round) ([]Wait, error) {
	bundle := ""
	if ca := r.facts.configMaps[desired.CAConfigMap(r.cluster.Name)]; ca != nil {
		bundle = ca.Data["ca.crt"]
	}
	var waits []Wait
	wanted := map[string]bool{}
	for _, user := range desired.Users(r.cluster) {
		name := desired.UserSecret(r.cluster.Name, user.Name)
		wanted[name] = true
		var data map[string][]byte
		if live := r.facts.secrets[name]; live != nil {
			data = live.Data
		}
		credentials, err := desired.KeepCredentials(data, r.random)
		if err != nil {
			return waits, err
		}
		secret := desired.UserSecretFor(r.cluster, user, credentials, bundle)
		waits = append(waits, r.apply(ctx, secret)...)
		if _, lacking := r.lacking[objectName("Secret", name)]; !lacking {
			r.facts.secrets[name] = secret // what makeUsersAndDatabases goes by
		}
	}
	r.deleteOtherUserSecrets(ctx, wanted)
	return waits, nil
}

func (r *round) deleteOtherUserSecrets(ctx context.Context, wanted map[string]bool) {
	for name, secret := range r.facts.secrets {
		if secret.Labels[desired.UserLabel] != "" && !wanted[name] {
			r.remove(ctx, secret)
		}
	}
}
