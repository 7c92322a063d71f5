_gpu_passthrough()
{
  local cur prev words
  COMPREPLY=()
  _get_comp_words_by_ref -n : cur prev words

  # Command data:
  cmds='agent allocation candidate complete db demo device event group help hook host instance inventory nova task topology unit'
  cmds_agent='reconcile'
  cmds_agent_reconcile='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --dry-run'
  cmds_allocation='create delete list show'
  cmds_allocation_create='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --request --same-switch --forbid-trait --aggregate --host --numa-node --consumer'
  cmds_allocation_delete='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote'
  cmds_allocation_list='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending'
  cmds_allocation_show='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote'
  cmds_candidate='list'
  cmds_candidate_list='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --request --same-switch --forbid-trait --aggregate --host --numa-node --limit'
  cmds_complete='-h --help --name --shell'
  cmds_db='sync'
  cmds_db_sync='-h --help'
  cmds_demo='-h --help'
  cmds_device='bind list reset show unbind'
  cmds_device_bind='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --dry-run'
  cmds_device_list='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending'
  cmds_device_reset='-h --help'
  cmds_device_show='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote'
  cmds_device_unbind='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --dry-run'
  cmds_event='list'
  cmds_event_list='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --since --limit --unit --consumer --host'
  cmds_group='list show'
  cmds_group_list='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --assignable'
  cmds_group_show='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote'
  cmds_help='-h --help'
  cmds_hook='install release remove'
  cmds_hook_install='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --dry-run'
  cmds_hook_release='-h --help --patience'
  cmds_hook_remove='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --dry-run'
  cmds_host='check disable enable record report verify'
  cmds_host_check='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending'
  cmds_host_disable='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --dry-run'
  cmds_host_enable='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --dry-run --select --deselect --only --binding --blacklist'
  cmds_host_record='-h --help --force'
  cmds_host_report='-h --help --force'
  cmds_host_verify='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --report --guest-log'
  cmds_instance='attach boot detach list release show'
  cmds_instance_attach='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --request --same-switch --forbid-trait --aggregate --live --config --dry-run'
  cmds_instance_boot='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --request --same-switch --forbid-trait --aggregate --define --autostart --dry-run'
  cmds_instance_detach='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --unit --wait --dry-run'
  cmds_instance_list='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending'
  cmds_instance_release='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --gone --wait --dry-run'
  cmds_instance_show='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote'
  cmds_inventory='cordon fence hosts list sync uncordon'
  cmds_inventory_cordon='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --reason'
  cmds_inventory_fence='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --powered-off'
  cmds_inventory_hosts='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending'
  cmds_inventory_list='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending'
  cmds_inventory_sync='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --replace'
  cmds_inventory_uncordon='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote'
  cmds_nova='check config recycle'
  cmds_nova_check='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --release'
  cmds_nova_config='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --release --mode --from --host --managed --live-migratable --one-time-use --numa-policy --host-trait --enabled-filters -o'
  cmds_nova_recycle='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --host --dry-run'
  cmds_task='list'
  cmds_task_list='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --host --open'
  cmds_topology='-h --help -o --output --force'
  cmds_unit='check clear history list quarantine show'
  cmds_unit_check='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --clear'
  cmds_unit_clear='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --wait'
  cmds_unit_history='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending --since --limit'
  cmds_unit_list='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --sort-column --sort-ascending --sort-descending'
  cmds_unit_quarantine='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote --reason'
  cmds_unit_show='-h --help -f --format -c --column --max-width --fit-width --print-empty --noindent --quote'

  dash=-
  underscore=_
  cmd=""
  words[0]=""
  completed="${cmds}"
  for var in "${words[@]:1}"
  do
    if [[ ${var} == -* ]] ; then
      break
    fi
    if [ -z "${cmd}" ] ; then
      proposed="${var}"
    else
      proposed="${cmd}_${var}"
    fi
    local i="cmds_${proposed}"
    i=${i//$dash/$underscore}
    local comp="${!i}"
    if [ -z "${comp}" ] ; then
      break
    fi
    if [[ ${comp} == -* ]] ; then
      if [[ ${cur} != -* ]] ; then
        completed=""
        break
      fi
    fi
    cmd="${proposed}"
    completed="${comp}"
  done

  if [ -z "${completed}" ] ; then
    COMPREPLY=( $( compgen -f -- "$cur" ) $( compgen -d -- "$cur" ) )
  else
    COMPREPLY=( $(compgen -W "${completed}" -- ${cur}) )
  fi
  return 0
}
complete -F _gpu_passthrough gpu-passthrough
