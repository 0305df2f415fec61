; An installer for Windows: iscc /DVersion=0.1.0 /DFolder=C:\out\qwq-local packaging\app\windows.iss (Inno Setup 6, jrsoftware.org)
; It needs no administrator, installs for this user, and leaves chats and models where they are when it is removed.
#ifndef Version
  #error Say which version: /DVersion=0.1.0
#endif
#ifndef Folder
  #error Say what build.py made: /DFolder=C:\out\qwq-local
#endif

[Setup]
AppId={{6F0C8C0B-61B2-4A5A-9A0E-3A4F1E0F7D51}
AppName=QwQ
AppVersion={#Version}
AppPublisher=The qwq-local maintainers
VersionInfoVersion={#Version}
DefaultDirName={autopf}\QwQ
DisableProgramGroupPage=yes
PrivilegesRequired=lowest
PrivilegesRequiredOverridesAllowed=dialog
ArchitecturesAllowed=x64compatible
ArchitecturesInstallIn64BitMode=x64compatible
OutputBaseFilename=qwq-local-{#Version}-setup
SetupIconFile=icons\qwq.ico
UninstallDisplayIcon={app}\qwq-desktop.exe
LicenseFile=..\..\LICENSE
Compression=lzma2/max
SolidCompression=yes
ChangesEnvironment=yes
CloseApplications=yes

[Tasks]
Name: desktopicon; Description: "{cm:CreateDesktopIcon}"; Flags: unchecked
Name: path; Description: "Let terminals know qwq (adds its folder to Path)"; Flags: unchecked

[Files]
Source: "{#Folder}\*"; DestDir: "{app}"; Flags: recursesubdirs createallsubdirs ignoreversion

[Icons]
Name: "{autoprograms}\QwQ"; Filename: "{app}\qwq-desktop.exe"
Name: "{autodesktop}\QwQ"; Filename: "{app}\qwq-desktop.exe"; Tasks: desktopicon

[Registry]
Root: HKA; Subkey: "Environment"; ValueType: expandsz; ValueName: "Path"; ValueData: "{olddata};{app}"; Tasks: path; Check: IsNotOnPath; Flags: preservestringtype

[Run]
Filename: "{app}\qwq-desktop.exe"; Description: "{cm:LaunchProgram,QwQ}"; Flags: nowait postinstall skipifsilent

[Code]
function Padded(Path: string): string;
begin
  Result := ';' + Lowercase(Path) + ';';
end;

function IsNotOnPath(): Boolean;
var
  Path: string;
begin
  Result := not RegQueryStringValue(HKEY_CURRENT_USER, 'Environment', 'Path', Path)
    or (Pos(Padded(ExpandConstant('{app}')), Padded(Path)) = 0);
end;

procedure CurUninstallStepChanged(Step: TUninstallStep);
var
  Path: string;
  At: Integer;
begin
  if (Step <> usUninstall) or not RegQueryStringValue(HKEY_CURRENT_USER, 'Environment', 'Path', Path) then
    exit;
  At := Pos(Padded(ExpandConstant('{app}')), Padded(Path));
  if At = 0 then
    exit;
  Delete(Path, At, Length(ExpandConstant('{app}')) + 1);
  RegWriteExpandStringValue(HKEY_CURRENT_USER, 'Environment', 'Path', Path);
end;
