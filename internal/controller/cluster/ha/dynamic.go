package ha

import "pgtls.dev/pgtls/internal/patroni"

// Change returns the patch that makes Patroni's dynamic configuration the wanted one, or nil when it is. Keys that only have has are removed.
func Change(have, want map[string]any) map[string]any {
	patch := withRemovals(have, want)
	if len(patroni.Difference(have, patch)) == 0 {
		return nil
	}
	return patch
}

// withRemovals is want with a nil, which removes, for each key that only have has.
func withRemovals(have, want map[string]any) map[string]any {
	merged := make(map[string]any, len(want))
	for key := range have {
		merged[key] = nil
	}
	for key, value := range want {
		inner, isObject := value.(map[string]any)
		haveInner, wasObject := have[key].(map[string]any)
		if isObject && wasObject {
			value = withRemovals(haveInner, inner)
		}
		merged[key] = value
	}
	return merged
}
