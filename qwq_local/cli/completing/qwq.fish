# Completion of qwq for fish 3 or newer, as `qwq completion fish` prints it.
function __qwq_complete
    set -l otherwise
    set -l found no
    for line in (_QWQ_COMPLETE=fish_complete _QWQ_LINE=(commandline -cp | string collect) qwq 2>/dev/null)
        set -l offered (string split -m 1 \t -- $line)
        switch $offered[1]
            case plain
                set found yes
                echo $offered[2]
            case file
                set otherwise __fish_complete_path
            case dir
                set otherwise __fish_complete_directories
        end
    end
    if test $found = no; and set -q otherwise[1]
        $otherwise (commandline -ct)
    end
end
complete --command qwq --no-files --keep-order --arguments '(__qwq_complete)'
