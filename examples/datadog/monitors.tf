# Made from monitors/*.json by write_terraform.py: change those, and run it again.

terraform {
  required_providers {
    datadog = {
      source = "DataDog/datadog"
    }
  }
}

variable "notify" {
  description = "Handles that every monitor notifies, such as \"@slack-ops\""
  type        = string
  default     = ""
}

resource "datadog_monitor" "gunicorn_backlog_near_limit" {
  name  = "[gunicorn] Backlog is near its limit"
  type  = "query alert"
  query = "max(last_5m):max:gunicorn.backlog.max{*} by {env,service,app,host,listener} / min:gunicorn.backlog.limit{*} by {env,service,app,host,listener} * 100 > 50"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:backlog-near-limit"]

  message = <<-EOT
    {{#is_alert}}
    The accept queue of {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} on {{host.name}} was {{value}} % full; critical is {{threshold}} %. At 100 % the kernel drops connections.
    {{/is_alert}}

    {{#is_warning}}
    The accept queue of {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} on {{host.name}} was {{value}} % full; the warning comes at {{warn_threshold}} %.
    {{/is_warning}}

    {{#is_recovery}}
    The accept queue of {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} on {{host.name}} is short again: {{value}} % of its limit at the most.
    {{/is_recovery}}

    {{#is_no_data}}
    No data on this for {{service.name}} ({{env.name}}); the monitor "gunicorn sends no metrics" tells why that may be.
    {{/is_no_data}}

    **Why it matters**

    A full queue drops connections: clients try again after a second or more, or give up. The app and its logs never see them.

    **What to look at**

    - `gunicorn.backlog.limit`: if it is less than gunicorn's `--backlog` (2048 by default), `net.core.somaxconn` clamps it.
    - `gunicorn.backlog.dropped`: whether connections are lost already.
    - `gunicorn.workers.utilization`: whether workers are busy, or do not accept at all.

    **What to change**

    - Raise `net.core.somaxconn` (in a container: in the pod's or container's own network namespace), and `--backlog` if that was lowered; restart gunicorn, a listening socket keeps its limit.
    - More replicas or `--workers`, if the queue also lasts.
    - With the asgi worker class the limit is 100, with aiohttp's worker classes 128, whatever `--backlog` says: use more replicas, or uvicorn's workers.

    ${var.notify}
  EOT

  on_missing_data     = "show_no_data"
  require_full_window = false
  renotify_interval   = 30
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 50
    warning  = 25
  }
}

resource "datadog_monitor" "gunicorn_backlog_not_draining" {
  name  = "[gunicorn] Backlog does not drain"
  type  = "query alert"
  query = "min(last_5m):min:gunicorn.backlog.median{*} by {env,service,app,host,listener} > 0"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:backlog-not-draining"]

  message = <<-EOT
    {{#is_alert}}
    For five minutes connections have waited in the accept queue of {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} on {{host.name}}: never fewer than {{value}} (median of ten seconds).
    {{/is_alert}}

    {{#is_recovery}}
    The accept queue of {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} on {{host.name}} was empty again at times.
    {{/is_recovery}}

    {{#is_no_data}}
    No data on this for {{service.name}} ({{env.name}}); the monitor "gunicorn sends no metrics" tells why that may be.
    {{/is_no_data}}

    **Why it matters**

    More requests arrive there than are served; it may be one host alone, which the averages of the other monitors do not show. The wait grows for as long as that lasts; clients and proxies run into their timeouts, and ask again.

    **What to look at**

    - `gunicorn.workers.utilization` and `gunicorn.workers.saturated`: with 100 % there are too few workers, with less something keeps them from accepting.
    - `gunicorn.request.wait.95percentile`: how long clients wait by now.
    - Whether it is one host or all of them: one may hang, or get more than its share from the load balancer.
    - `gunicorn.backlog.limit`: how much more fits before connections are dropped.
    - Logs for `WORKER TIMEOUT`: workers that hang serve nobody.

    **What to change**

    - More replicas, or more `--workers`; `--threads` if requests mostly wait for something else.
    - A shorter `--timeout`, if hanging requests hold the workers.
    - Not `--backlog`: a longer queue only makes clients wait longer.

    ${var.notify}
  EOT

  on_missing_data     = "show_no_data"
  require_full_window = true
  renotify_interval   = 30
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 0
  }
}

resource "datadog_monitor" "gunicorn_connections_dropped" {
  name  = "[gunicorn] Connections are dropped"
  type  = "query alert"
  query = "sum(last_5m):sum:gunicorn.backlog.dropped{*} by {env,service,app,listener}.as_count() > 0"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:connections-dropped"]

  message = <<-EOT
    {{#is_alert}}
    {{value}} connections to {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} were dropped in the last five minutes.
    {{/is_alert}}

    {{#is_recovery}}
    No connection to {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} was dropped in the last five minutes.
    {{/is_recovery}}

    {{#is_no_data}}
    No data on this for {{service.name}} ({{env.name}}); the monitor "gunicorn sends no metrics" tells why that may be.
    {{/is_no_data}}

    **Why it matters**

    Each of them is a client that waits a second and more for its next try, or gets an error. No log of the app's or of gunicorn's tells about it.

    **What to look at**

    - `gunicorn.backlog.max` against `gunicorn.backlog.limit`: whether the queue is full for a moment or for long.
    - `gunicorn.workers` by `state`: workers that are `starting` or gone accept nothing.
    - Deployments and restarts at that time: connections in the queue of a listener that ends are lost.

    **What to change**

    - If the queue is full for moments only: raise `net.core.somaxconn` and `--backlog`, and restart gunicorn.
    - If it lasts: more replicas, `--workers` or `--threads`.
    - Where a client's retries make it worse: limit them in the proxy.

    ${var.notify}
  EOT

  on_missing_data     = "resolve"
  require_full_window = false
  renotify_interval   = 30
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 0
  }
}

resource "datadog_monitor" "gunicorn_crash_loop" {
  name  = "[gunicorn] Workers crash in a loop"
  type  = "query alert"
  query = "avg(last_10m):default_zero(sum:gunicorn.workers.spawned{*} by {env,service,app,host,bind}.as_rate() / sum:gunicorn.workers{*} by {env,service,app,host,bind}) * 600 > 5"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:crash-loop"]

  message = <<-EOT
    {{#is_alert}}
    Workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} on {{host.name}} were replaced {{value}} times each in the last ten minutes; critical is {{threshold}} times.
    {{/is_alert}}

    {{#is_warning}}
    Workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} on {{host.name}} were replaced {{value}} times each in the last ten minutes; the warning comes at {{warn_threshold}} times.
    {{/is_warning}}

    {{#is_recovery}}
    Workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} on {{host.name}} stay again: replaced {{value}} times each in the last ten minutes.
    {{/is_recovery}}

    **Why it matters**

    A worker that dies takes its requests with it, and one that starts serves nobody. The server answers `OK` to a port check all the same.

    **What to look at**

    - gunicorn's log: `WORKER TIMEOUT`, `Worker (pid:N) was sent SIGKILL! Perhaps out of memory?`, `Worker exiting`, and the app's traceback before it.
    - `gunicorn.workers` by `state`: many that are `starting`.
    - Memory of the container against its limit, and the kernel's log for killed processes.
    - `--max-requests`: a low one replaces workers often, on purpose.

    **What to change**

    - Roll back what was deployed last, if it began with that.
    - More memory, or fewer `--workers`, if the kernel kills them.
    - A longer `--timeout`, if slow requests are what is killed; better: `--threads`, or a task queue.
    - A higher `--max-requests`, with `--max-requests-jitter`.

    ${var.notify}
  EOT

  on_missing_data     = "default"
  require_full_window = true
  renotify_interval   = 60
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 5
    warning  = 3
  }
}

resource "datadog_monitor" "gunicorn_no_data" {
  name  = "[gunicorn] gunicorn sends no metrics"
  type  = "query alert"
  query = "max(last_5m):sum:gunicorn.workers{!app:*.2} by {env,service,app} < 1"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:no-data"]

  message = <<-EOT
    {{#is_alert}}
    {{service.name}} ({{env.name}}, app {{app.name}}) has had no worker for five minutes, though its master lives.
    {{/is_alert}}

    {{#is_recovery}}
    {{service.name}} ({{env.name}}, app {{app.name}}) is heard of again, with {{value}} workers.
    {{/is_recovery}}

    {{#is_no_data}}
    Nothing has been heard of {{service.name}} ({{env.name}}, app {{app.name}}) for five minutes: no gunicorn of it runs, or no Agent gets what it sends.
    {{/is_no_data}}

    **Why it matters**

    Either nobody answers requests, or all other monitors of this service are blind.

    **What to look at**

    - Whether the service answers: its load balancer, its health checks.
    - The Agent: `agent status`, section DogStatsD, and whether UDP 8125 or its socket can be reached from the pods (`dogstatsd_non_local_traffic`, `hostPort`, the mounted path).
    - gunicorn's log for a line of gunicorn_backlog: an Agent that is away is told there once.
    - `DD_AGENT_HOST`, `DD_DOGSTATSD_URL`, `GUNICORN_BACKLOG_URL`, `GUNICORN_BACKLOG_ENABLED` of the deployment.

    **What to change**

    - If gunicorn is down: roll back what was deployed last, start it again, look at its replicas.
    - If workers do not boot: the app's import, its memory, `--timeout`.
    - If only the metrics are missing: the Agent's address, or the hooks in `gunicorn.conf.py`.
    - If the service was retired: mute its group, until Datadog drops it.

    ${var.notify}
  EOT

  on_missing_data     = "show_and_notify_no_data"
  require_full_window = false
  renotify_interval   = 30
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 1
  }
}

resource "datadog_monitor" "gunicorn_not_running" {
  name  = "[gunicorn] gunicorn is not running"
  type  = "service check"
  query = "\"gunicorn.is_running\".over(\"*\").by(\"env\",\"service\",\"host\",\"bind\").last(2).count_by_status()"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:not-running"]

  message = <<-EOT
    {{#is_alert}}
    gunicorn of {{service.name}} ({{env.name}}) at {{bind.name}} on {{host.name}} shut down, or has no worker left.
    {{/is_alert}}

    {{#is_recovery}}
    gunicorn of {{service.name}} ({{env.name}}) at {{bind.name}} on {{host.name}} runs again.
    {{/is_recovery}}

    {{#is_no_data}}
    gunicorn of {{service.name}} ({{env.name}}) at {{bind.name}} on {{host.name}} has not been heard of: it was killed, or the Agent does not get its metrics.
    {{/is_no_data}}

    **Why it matters**

    Nobody answers there. If it was the last one, clients get errors; if not, the others have more to do.

    **What to look at**

    - The service manager's or the kubelet's events: who stopped it, and with which exit code.
    - gunicorn's log: why workers do not boot, such as an import that fails.
    - `gunicorn.workers.spawned`: whether it tries over and over.

    **What to change**

    - Start it again, and have systemd or Kubernetes do so (`Restart=always`, `restartPolicy: Always`).
    - If it was scaled down on purpose, mute this host. Where hosts come and go all the time, leave this monitor out and keep "gunicorn sends no metrics".
    - More replicas, if one that ends is felt.

    ${var.notify}
  EOT

  notify_no_data    = true
  no_data_timeframe = 5
  renotify_interval = 30
  notify_audit      = false

  monitor_thresholds {
    critical = 1
    warning  = 1
    ok       = 1
  }
}

resource "datadog_monitor" "gunicorn_requests_waiting" {
  name  = "[gunicorn] Requests wait for a worker"
  type  = "query alert"
  query = "avg(last_10m):avg:gunicorn.request.wait.95percentile{*} by {env,service,app,bind}.rollup(max, 120) > 1000"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:requests-waiting"]

  message = <<-EOT
    {{#is_alert}}
    Requests to {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} wait {{value}} ms before anything begins (95th percentile; the longest of two minutes, on average of ten); critical is {{threshold}} ms.
    {{/is_alert}}

    {{#is_warning}}
    Requests to {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} wait {{value}} ms before anything begins (95th percentile; the longest of two minutes, on average of ten); the warning comes at {{warn_threshold}} ms.
    {{/is_warning}}

    {{#is_recovery}}
    Requests to {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} are taken soon again: {{value}} ms (95th percentile; the longest of two minutes, on average of ten).
    {{/is_recovery}}

    {{#is_no_data}}
    No data on this for {{service.name}} ({{env.name}}); the monitor "gunicorn sends no metrics" tells why that may be.
    {{/is_no_data}}

    **Why it matters**

    Clients wait this long on top of what the app's own timings say. The ingress sees it, the app does not.

    **What to look at**

    - `gunicorn.workers.utilization`: whether workers have time at all.
    - `gunicorn.threads.queued`: with gthread, requests wait in the worker while the kernel's backlog is 0.
    - `gunicorn.request.wait.count`: whether there are more requests than usual, or fewer and slower ones.
    - Whether a few slow requests hold the workers: the app's own timings.

    **What to change**

    - More replicas or `--workers`; `--threads` if requests mostly wait for something else.
    - Separate slow requests from fast ones: a server of their own, or a task queue.
    - The thresholds of this monitor, if your users bear more or less than a second.

    ${var.notify}
  EOT

  on_missing_data     = "show_no_data"
  require_full_window = true
  renotify_interval   = 60
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 1000
    warning  = 500
  }
}

resource "datadog_monitor" "gunicorn_saturated_workers" {
  name  = "[gunicorn] Workers are saturated"
  type  = "query alert"
  query = "avg(last_10m):avg:gunicorn.workers.utilization{*} by {env,service,app,bind} > 90"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:saturated-workers"]

  message = <<-EOT
    {{#is_alert}}
    Workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} were busy {{value}} % of the last ten minutes; critical is {{threshold}} %.
    {{/is_alert}}

    {{#is_warning}}
    Workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} were busy {{value}} % of the last ten minutes; the warning comes at {{warn_threshold}} %.
    {{/is_warning}}

    {{#is_recovery}}
    Workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} have time again: busy {{value}} % of the last ten minutes.
    {{/is_recovery}}

    {{#is_no_data}}
    No data on this for {{service.name}} ({{env.name}}); the monitor "gunicorn sends no metrics" tells why that may be.
    {{/is_no_data}}

    **Why it matters**

    A request finds a free worker only if there is one. Near 100 % every burst queues in the kernel, where neither CPU nor request timings show it, and each second in it is added to the answer.

    **What to look at**

    - `gunicorn.request.wait.95percentile`: how long requests wait already.
    - `gunicorn.backlog.max` and `gunicorn.threads.queued`: how many wait, in the kernel and in gthread's workers.
    - Whether there are more requests, or slower ones: the app's own timings, its database, the services it calls.
    - CPU: low CPU with busy workers means that they wait for something else.

    **What to change**

    - If CPU is low: more `--workers`, or `--threads` with the gthread worker class.
    - If CPU is high: more replicas, and scale on this metric.
    - If requests became slower: mend that first, more workers only move the queue.

    ${var.notify}
  EOT

  on_missing_data     = "show_no_data"
  require_full_window = true
  renotify_interval   = 60
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 90
    warning  = 80
  }
}
