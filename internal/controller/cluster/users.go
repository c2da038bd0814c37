package cluster

import (
	"context"

	"pgtls.dev/pgtls/internal/controller/cluster/attempt"
	"pgtls.dev/pgtls/internal/controller/cluster/decide"
	"pgtls.dev/pgtls/internal/controller/cluster/sql"
	"pgtls.dev/pgtls/internal/desired"
)

// keepUserSecrets gives each user a Secret with connection facts and a password, keeps what is good in it, and
// deletes the Secrets of users that the spec names no more. Their roles stay in the database.
func keepUserSecrets(ctx context.Context, r *round) ([]decide.Wait, error) {
	bundle := ""
	if ca := r.seen.configMaps[desired.CAConfigMap(r.seen.cluster.Name)]; ca != nil {
		bundle = ca.Data["ca.crt"]
	}
	var waits []decide.Wait
	for _, user := range desired.Users(r.seen.cluster) {
		name := desired.UserSecret(r.seen.cluster.Name, user.Name)
		var data map[string][]byte
		if live := r.seen.secrets[name]; live != nil {
			data = live.Data
		}
		credentials, err := r.credentials.Keep(r.seen.key(), user.Name, data, r.random)
		if err != nil {
			return waits, err
		}
		secret := desired.UserSecretFor(r.seen.cluster, user, credentials, bundle)
		waits = append(waits, r.objects.apply(ctx, secret)...)
		if !r.objects.isLacking("Secret", name) {
			r.secrets[name] = secret // what makeUsersAndDatabases goes by
		}
	}
	deleteOtherUserSecrets(ctx, r)
	return waits, nil
}

func deleteOtherUserSecrets(ctx context.Context, r *round) {
	wanted := userSecrets(r.seen.cluster)
	for name, secret := range r.seen.secrets {
		if secret.Labels[desired.UserLabel] != "" && !wanted[name] {
			r.objects.remove(ctx, secret)
		}
	}
}

// makeUsersAndDatabases makes roles, passwords, databases and grants on the primary where they differ from the spec.
// It reads first, so at rest nothing is written to PostgreSQL.
func makeUsersAndDatabases(ctx context.Context, r *round) ([]decide.Wait, error) {
	if !r.seen.primaryReady() {
		return nil, nil // the role label and readiness of its pod are watched
	}
	cluster := r.seen.cluster
	config, err := r.seen.operatorTLS()
	if err != nil {
		return []decide.Wait{{Party: desired.OperatorMaterial(cluster.Name), Reason: decide.AwaitingMaterial, Message: err.Error()}}, nil
	}
	host := desired.ServiceHost(desired.PrimaryService(cluster.Name), cluster.Namespace)
	connection, err := r.connect.Database(ctx, host, "postgres", config)
	if err != nil {
		return []decide.Wait{{Party: host, Reason: decide.AwaitingDatabase, Message: attempt.Unanswered(err), Again: decide.Soon}}, nil
	}
	defer connection.Close(context.WithoutCancel(ctx))
	changes, err := sql.Changes(ctx, connection, desired.Users(cluster), verifiers(r))
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	if err := r.objects.permit(ctx); err != nil {
		return nil, err
	}
	if err := sql.Do(ctx, connection, changes); err != nil {
		return nil, err
	}
	r.events.tell(nil, decide.UsersChanged, "MakeUsers", "%s", sql.Summary(changes))
	return nil, nil
}

// verifiers are those in the Secrets as they were written in this round, or are.
func verifiers(r *round) map[string]string {
	byUser := map[string]string{}
	for _, user := range desired.Users(r.seen.cluster) {
		name := desired.UserSecret(r.seen.cluster.Name, user.Name)
		secret := r.secrets[name]
		if secret == nil {
			secret = r.seen.secrets[name]
		}
		if secret != nil {
			byUser[user.Name] = string(secret.Data["verifier"])
		}
	}
	return byUser
}
