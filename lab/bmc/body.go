package bmc

import (
	"encoding/json"
	"net/http"
)

// object is a JSON object of the service.
type object = map[string]any

// open answers everybody the same.
func open(body any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, body) }
}

// answer ignores a sender that is gone.
func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

// refuse answers with Redfish's form of an error.
func refuse(w http.ResponseWriter, code int, message, why string) {
	const registry = "Base.1.8."
	answer(w, code, object{"error": object{
		"code": registry + message, "message": why,
		"@Message.ExtendedInfo": []object{{"@odata.type": "#Message.v1_1_1.Message", "MessageId": registry + message, "Message": why}},
	}})
}

func link(path string) object { return object{"@odata.id": path} }

func (s *Server) root() object {
	return object{
		"@odata.id": rootPath, "@odata.type": "#ServiceRoot.v1_5_0.ServiceRoot",
		"Id": "RootService", "Name": "Power control of " + s.config.Name, "RedfishVersion": "1.8.0",
		"Systems": link(systemsPath), "SessionService": link(servicePath),
		"Links": object{"Sessions": link(sessionsPath)},
	}
}

func collection(path, kind string, members ...string) object {
	links := make([]object, 0, len(members))
	for _, member := range members {
		links = append(links, link(member))
	}
	return object{"@odata.id": path, "@odata.type": "#" + kind, "Name": kind,
		"Members": links, "Members@odata.count": len(links)}
}

func sessionService() object {
	return object{"@odata.id": servicePath, "@odata.type": "#SessionService.v1_1_6.SessionService",
		"Id": "SessionService", "Name": "Sessions", "ServiceEnabled": true, "Sessions": link(sessionsPath)}
}

func sessionBody(id, user string) object {
	return object{"@odata.id": sessionsPath + "/" + id, "@odata.type": "#Session.v1_2_1.Session",
		"Id": id, "Name": "Session of " + user, "UserName": user}
}

func (s *Server) systemBody(state string) object {
	health := object{"State": "Enabled", "Health": "OK"}
	if state != stateOn {
		health["State"] = "StandbyOffline"
	}
	return object{
		"@odata.id": systemPath, "@odata.type": "#ComputerSystem.v1_13_0.ComputerSystem",
		"Id": "1", "Name": s.config.Name, "HostName": s.config.Name, "SystemType": "Physical",
		"Manufacturer": "gemel lab", "Model": "box of a lab", "PowerState": state, "Status": health,
		"Actions": object{"#ComputerSystem.Reset": object{
			"target": resetPath, "ResetType@Redfish.AllowableValues": resets,
		}},
	}
}
