package desired

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"pgtls.dev/pgtls/api/v1beta1"
	"pgtls.dev/pgtls/internal/party"
)

// Names that a server's certificate must cover, sorted and without doubles.
type Names struct {
	DNS []string
	IPs []netip.Addr
}

// ServerNames of a party: its pod where the leaf names it, the Services that may lead to it, and what the spec adds (nil: nothing).
// workload is the instance or the Deployment; services are those that exist, others than the cluster's do not count.
func ServerNames(cluster *v1beta1.PostgresCluster, of party.Names, workload string, extra *v1beta1.ServerCertificateSpec, clusterDomain string, services []corev1.Service) Names {
	names := &nameSet{}
	if of.Pod {
		pod := PodName(workload)
		subdomain := pod + "." + PodService(cluster.Name)
		names.dns(pod, subdomain, subdomain+"."+cluster.Namespace)
		names.dns(serviceForms(subdomain, cluster.Namespace, clusterDomain)...)
	}
	for _, service := range of.Services {
		names.service(cluster.Namespace, ServiceName(cluster.Name, service), clusterDomain, services)
	}
	names.extra(extra)
	return names.sorted()
}

// ServiceNames are those of Services alone, and what a spec adds: names that last, for a certificate that others issue. Addresses of
// Services are not among them, nor those of load balancers, since each new one would be a new certificate.
func ServiceNames(cluster *v1beta1.PostgresCluster, of []party.Service, extra *v1beta1.ServerCertificateSpec, clusterDomain string) Names {
	return ServerNames(cluster, party.Names{Services: of}, "", extra, clusterDomain, nil)
}

type nameSet struct {
	names []string
	ips   []netip.Addr
}

func (s *nameSet) dns(names ...string) {
	for _, name := range names {
		// A trailing dot is right in a zone file and wrong in a certificate.
		if name = strings.ToLower(strings.TrimSuffix(name, ".")); name != "" {
			s.names = append(s.names, name)
		}
	}
}

// addresses skips what is no address, such as the "None" of a headless Service.
func (s *nameSet) addresses(addresses ...string) {
	for _, text := range addresses {
		if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
			s.ips = append(s.ips, address.Unmap())
		}
	}
}

func (s *nameSet) service(namespace, name, clusterDomain string, services []corev1.Service) {
	s.dns(serviceForms(name, namespace, clusterDomain)...)
	s.dns(name, name+"."+namespace)
	for i := range services {
		if services[i].Name == name && services[i].Namespace == namespace {
			s.reachable(&services[i])
		}
	}
}

// reachable adds where a Service can be reached from outside and by address.
func (s *nameSet) reachable(service *corev1.Service) {
	s.addresses(service.Spec.ClusterIP)
	s.addresses(service.Spec.ClusterIPs...)
	s.addresses(service.Spec.ExternalIPs...)
	s.dns(service.Spec.ExternalName)
	for _, point := range service.Status.LoadBalancer.Ingress {
		s.dns(point.Hostname)
		s.addresses(point.IP)
	}
}

func (s *nameSet) extra(spec *v1beta1.ServerCertificateSpec) {
	if spec == nil {
		return
	}
	s.dns(spec.DNSNames...)
	s.addresses(spec.IPAddresses...)
}

func (s *nameSet) sorted() Names {
	slices.Sort(s.names)
	slices.SortFunc(s.ips, netip.Addr.Compare)
	return Names{DNS: slices.Compact(s.names), IPs: slices.Compact(s.ips)}
}

func serviceForms(name, namespace, clusterDomain string) []string {
	host := ServiceHost(name, namespace)
	return []string{host, host + "." + strings.TrimSuffix(clusterDomain, ".")}
}
