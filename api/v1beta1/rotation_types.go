package v1beta1

import "time"

// RetireManual is the RetirePolicy that wants a person to say when an old authority goes.
const RetireManual = "Manual"

// RotationSpec is how an authority is replaced by a new one.
type RotationSpec struct {
	// RetireSoak is how long an old authority stays trusted after the new one has begun to sign.
	// +optional
	// +kubebuilder:default="336h"
	RetireSoak *SoakDuration `json:"retireSoak,omitempty"`

	// RetirePolicy: Automatic drops an old authority when nothing uses it and RetireSoak is over; Manual also waits
	// for the annotation pgtls.dev/retire-approved.
	// +optional
	// +kubebuilder:default=Automatic
	// +kubebuilder:validation:Enum=Automatic;Manual
	RetirePolicy string `json:"retirePolicy,omitempty"`

	// Windows are the times at which planned steps may begin: renewals, and the re-key of an authority. Other steps do not
	// wait for a window: initial issuance, repair, a user's request, an emergency, a certificate that ends within
	// UrgentBefore. Without windows a planned step may begin at any time.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Windows []MaintenanceWindow `json:"windows,omitempty"`

	// UrgentBefore: what ends sooner than this waits neither for a window nor for the end of Paused. Default: a quarter
	// of the certificate's own renewBefore.
	// +optional
	UrgentBefore *CertificateDuration `json:"urgentBefore,omitempty"`

	// Paused begins nothing planned: no re-key, and no renewal that can wait. A re-key that is under way goes on.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// AutoRollback undoes a re-key of the server authority by itself when clients refuse what is served since.
	// +optional
	AutoRollback *AutoRollbackSpec `json:"autoRollback,omitempty"`
}

// AutoRollbackSpec is how much refusal undoes a re-key. Both limits must be passed.
type AutoRollbackSpec struct {
	// Refusals is how many handshakes clients must break off since the new authority signs. 0: a re-key is never undone by itself.
	// +optional
	// +kubebuilder:default=20
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Refusals *int32 `json:"refusals,omitempty"`

	// Factor is how many times as often as before they must do so: some client always refuses something.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Factor *int32 `json:"factor,omitempty"`
}

// Limits of AutoRollback where nothing is given.
const (
	defaultRefusals = 20
	defaultFactor   = 3
)

// Limits returns refusals and factor, with what is not given.
func (a *AutoRollbackSpec) Limits() (refusals, factor int) {
	refusals, factor = defaultRefusals, defaultFactor
	if a != nil && a.Refusals != nil {
		refusals = int(*a.Refusals)
	}
	if a != nil && a.Factor != nil {
		factor = int(*a.Factor)
	}
	return refusals, factor
}

// MaintenanceWindow is a stretch of time that comes back.
type MaintenanceWindow struct {
	// Schedule is when it opens, as in cron: minute, hour, day of the month, month, day of the week.
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9A-Za-z*,/-]+( [0-9A-Za-z*,/-]+){4}$')",messageExpression="self + ' is no schedule; write the five fields of cron with one space between, such as 0 2 * * 6,0 for Saturday and Sunday at 2'"
	Schedule string `json:"schedule"`

	// Duration is how long it stays open.
	Duration CertificateDuration `json:"duration"`

	// TimeZone of Schedule, a name of the IANA list. Default: UTC.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_+/-]+$')",messageExpression="self + ' is no name of a time zone; write one such as Europe/Berlin or UTC'"
	TimeZone string `json:"timeZone,omitempty"`
}

// defaultSoak is RetireSoak where nothing is given: 14 days.
const defaultSoak = 336 * time.Hour

// SoakDuration is a length of time such as 336h, 90m or 0s (units h, m, s), in at most 14 characters.
//
// +kubebuilder:validation:MaxLength=14
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}[hms])+$')",messageExpression="self + ' is no length of time; write hours, minutes and seconds such as 336h or 0s, days as hours'"
// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}[hms])+$') || duration(self) <= duration('175200h')",messageExpression="self + ' is out of range; choose at most 175200h, which is 20 years'"
type SoakDuration string

// Duration returns the length of time, or 14 days if there is none or it cannot be parsed.
func (d *SoakDuration) Duration() time.Duration {
	if d == nil {
		return defaultSoak
	}
	length, err := time.ParseDuration(string(*d))
	if err != nil || length < 0 {
		return defaultSoak
	}
	return length
}
