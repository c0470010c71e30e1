{{/* Names and labels that several templates need alike. */}}

{{- define "engram-store.fullname" -}}
{{- printf "%s" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* What finds the pods. Never changes: selectors of a StatefulSet cannot. The first is the job's name in Prometheus. */}}
{{- define "engram-store.selector" -}}
app.kubernetes.io/name: engram-store
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "engram-store.labels" -}}
{{ include "engram-store.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "engram-store.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "engram-store.fullname" .) -}}
{{- end -}}

{{/* Mistakes that a schema cannot see, told before anything is installed. */}}
{{- define "engram-store.check" -}}
{{- if and (not .Values.tls.secret) (not .Values.insecure) -}}
{{- fail "set tls.secret, or insecure: true to let plain text leave the pods" -}}
{{- end -}}
{{- if and .Values.tokens.secret (not .Values.tls.secret) -}}
{{- fail "tokens.secret without tls.secret would send tokens in plain text: set tls.secret" -}}
{{- end -}}
{{- if and .Values.nodeToken.secret (not .Values.cluster.url) -}}
{{- fail "nodeToken.secret is what a node shows to others of its cluster: set cluster.url, too" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled .Values.serviceMonitor.enabled (not .Values.networkPolicy.metrics) -}}
{{- fail "networkPolicy keeps Prometheus out: say in networkPolicy.metrics where it is, or serviceMonitor.enabled: false" -}}
{{- end -}}
{{- if and .Values.numa.nodes .Values.numa.pinCores -}}
{{- fail "give numa.nodes or numa.pinCores, not both: cores decide the node, and a node its cores" -}}
{{- end -}}
{{- if and .Values.cluster.url (lt (int .Values.replicas) (int .Values.cluster.copies)) -}}
{{- fail (printf "%d replicas cannot hold %d copies of each row" (int .Values.replicas) (int .Values.cluster.copies)) -}}
{{- end -}}
{{- end -}}
