{{- define "swytch.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "swytch.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "swytch.labels" -}}
{{ include "swytch.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* --maxmemory in MiB, rounded up. */ -}}
{{- define "swytch.maxmemoryMiB" -}}
{{- $text := .Values.maxmemory | toString | lower -}}
{{- $number := regexFind "^[0-9]+" $text | int64 -}}
{{- $unit := regexFind "[a-z]*$" $text -}}
{{- if eq $unit "tb" -}}{{- mul $number 1048576 -}}
{{- else if eq $unit "gb" -}}{{- mul $number 1024 -}}
{{- else if eq $unit "mb" -}}{{- $number -}}
{{- else if eq $unit "kb" -}}{{- div (add $number 1023) 1024 -}}
{{- else -}}{{- div (add $number 1048575) 1048576 -}}
{{- end -}}
{{- end -}}

{{- /* Rounds a number of MiB up to 256. */ -}}
{{- define "swytch.rounded" -}}
{{- mul (div (add . 255) 256) 256 -}}
{{- end -}}

{{- /* maxmemory + max(512 MB, 20 % of it). The fifth is rounded up. */ -}}
{{- define "swytch.resources" -}}
{{- if .Values.resources -}}
{{- toYaml .Values.resources -}}
{{- else -}}
{{- $data := include "swytch.maxmemoryMiB" . | int64 -}}
{{- $beside := max 512 (div (add $data 4) 5) -}}
requests:
  cpu: {{ .Values.cpuRequest }}
  memory: {{ include "swytch.rounded" (add $data 512) }}Mi
limits:
  memory: {{ include "swytch.rounded" (add $data $beside) }}Mi
{{- end -}}
{{- end -}}
