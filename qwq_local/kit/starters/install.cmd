@echo off
rem Installs QwQ from this folder, without network. For its options: install.cmd --help
setlocal
set "HERE=%~dp0"
if not exist "%HERE%kit.json" goto unfinished
if not exist "%HERE%install.py" goto unfinished
for %%V in (@VERSIONS@) do (
    py -%%V -I "%HERE%install.py" --fits >nul 2>nul && (
        py -%%V -I "%HERE%install.py" %*
        goto end
    )
)
where python >nul 2>nul && (
    python -I "%HERE%install.py" %*
    goto end
)
echo error: This kit needs Python @PYTHONS@; there is none here. 1>&2
echo hint: Install one of these (from its own installer, for this user), then run install.cmd again. 1>&2
exit /b 1
:unfinished
echo error: %HERE% is no finished kit: kit.json or install.py is missing. 1>&2
echo hint: Finish it where it is made (qwq kit make), or copy the whole folder again. 1>&2
exit /b 1
:end
exit /b %ERRORLEVEL%
